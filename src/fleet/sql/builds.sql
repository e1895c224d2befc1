-- The newest build of each service (b) against the one before it (a), stack by stack: mean bytes an instance holds at the same
-- age. Compared are dumps at ages that both builds reached, the later half of them: what a build
-- holds after an hour is not compared with what the old one held after a week. The largest difference first.
-- For other builds set build_a and build_b in `settings` (NULL picks the newest two).
WITH settings AS (
  SELECT CAST(NULL AS STRING) AS build_a, CAST(NULL AS STRING) AS build_b
),
seen AS (
  SELECT service, build_id, MIN(start_us) AS first_us, MIN(ts_us) AS seen_us, MAX(ts_us - start_us) AS oldest_us, MIN(ts_us - start_us) AS youngest_us
  FROM snapshots
  WHERE heap_bytes IS NOT NULL
  GROUP BY service, build_id
),
ordered AS (
  SELECT s.*, ROW_NUMBER() OVER (PARTITION BY s.service ORDER BY s.first_us DESC, s.seen_us DESC, s.build_id DESC) AS back
  FROM seen s
),
pairs AS (
  SELECT b.service, a.build_id AS build_a, b.build_id AS build_b,
         GREATEST(a.youngest_us, b.youngest_us) AS from_us, LEAST(a.oldest_us, b.oldest_us) AS to_us
  FROM ordered b
  JOIN ordered a ON a.service = b.service
  CROSS JOIN settings t
  WHERE a.build_id <> b.build_id
    AND ((t.build_a IS NULL AND a.back = 2) OR a.build_id = t.build_a)
    AND ((t.build_b IS NULL AND b.back = 1) OR b.build_id = t.build_b)
),
compared AS (
  SELECT s.service, s.build_id, s.instance, s.start_us, s.ts_us, p.build_a, p.build_b
  FROM snapshots s
  JOIN pairs p ON s.service = p.service AND (s.build_id = p.build_a OR s.build_id = p.build_b)
  WHERE s.heap_bytes IS NOT NULL
    AND s.ts_us - s.start_us <= p.to_us AND (s.ts_us - s.start_us) * 2 >= p.from_us + p.to_us
),
sizes AS (
  SELECT service, build_a, build_b,
         CAST(SUM(CASE WHEN build_id = build_a THEN 1 ELSE 0 END) AS DOUBLE) AS dumps_a,
         CAST(SUM(CASE WHEN build_id = build_b THEN 1 ELSE 0 END) AS DOUBLE) AS dumps_b,
         COUNT(DISTINCT CASE WHEN build_id = build_a THEN instance END) AS instances_a,
         COUNT(DISTINCT CASE WHEN build_id = build_b THEN instance END) AS instances_b
  FROM compared
  GROUP BY service, build_a, build_b
),
held AS (
  SELECT p.service, p.build_a, p.build_b, s.stack_id,
         SUM(CASE WHEN s.build_id = p.build_a THEN CAST(s.inuse_bytes AS DOUBLE) ELSE 0e0 END) AS bytes_a,
         SUM(CASE WHEN s.build_id = p.build_b THEN CAST(s.inuse_bytes AS DOUBLE) ELSE 0e0 END) AS bytes_b
  FROM samples s
  JOIN pairs p ON s.service = p.service AND (s.build_id = p.build_a OR s.build_id = p.build_b)
  WHERE s.ts_us - s.start_us <= p.to_us AND (s.ts_us - s.start_us) * 2 >= p.from_us + p.to_us
  GROUP BY p.service, p.build_a, p.build_b, s.stack_id
),
names AS (
  SELECT service, stack_id, MIN(owner) AS owner, MIN(leaf) AS leaf, MIN(folded) AS folded
  FROM stacks
  GROUP BY service, stack_id
),
means AS (
  SELECT h.service, h.build_a, h.build_b, h.stack_id, z.instances_a, z.instances_b,
         h.bytes_a / z.dumps_a AS bytes_a, h.bytes_b / z.dumps_b AS bytes_b,
         ABS(h.bytes_b / z.dumps_b - h.bytes_a / z.dumps_a) AS distance
  FROM held h
  JOIN sizes z ON h.service = z.service AND h.build_a = z.build_a AND h.build_b = z.build_b
  WHERE z.dumps_a > 0e0 AND z.dumps_b > 0e0
)
SELECT m.service, m.build_a, m.build_b, m.stack_id, m.instances_a, m.instances_b,
       ROUND(m.bytes_a, 0) AS bytes_a, ROUND(m.bytes_b, 0) AS bytes_b, ROUND(m.bytes_b - m.bytes_a, 0) AS delta_bytes,
       n.owner, n.leaf, n.folded
FROM means m
LEFT JOIN names n ON m.service = n.service AND m.stack_id = n.stack_id
WHERE m.distance > 0e0
ORDER BY m.distance DESC, m.service, m.stack_id;
