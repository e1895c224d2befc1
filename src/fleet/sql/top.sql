-- The heaviest stacks of the fleet: the last dump of each running instance. Running is an instance whose last dump is no older
-- than `running_us` at the time of the service's last, of a restarted one the last incarnation counts.
-- The rows of a service add up to its heap: `other` is what was not told apart. share is of the service's heap.
WITH settings AS (
  SELECT 86400000000 AS running_us
),
newest AS (
  SELECT service, MAX(ts_us) AS newest_us
  FROM snapshots
  WHERE heap_bytes IS NOT NULL
  GROUP BY service
),
dumps AS (
  SELECT s.service, s.instance, s.start_us, s.ts_us,
         ROW_NUMBER() OVER (PARTITION BY s.service, s.instance ORDER BY s.ts_us DESC, s.start_us DESC) AS back
  FROM snapshots s
  JOIN newest n ON s.service = n.service
  CROSS JOIN settings t
  WHERE s.heap_bytes IS NOT NULL AND s.ts_us >= n.newest_us - t.running_us
),
held AS (
  SELECT s.service, s.stack_id,
         CAST(SUM(CASE WHEN s.inuse_bytes > 0 THEN 1 ELSE 0 END) AS BIGINT) AS instances,
         CAST(SUM(s.inuse_bytes) AS BIGINT) AS inuse_bytes, CAST(SUM(s.inuse_objects) AS BIGINT) AS inuse_objects, MAX(s.inuse_bytes) AS most_bytes
  FROM samples s
  JOIN dumps d ON s.service = d.service AND s.instance = d.instance AND s.start_us = d.start_us AND s.ts_us = d.ts_us
  WHERE d.back = 1
  GROUP BY s.service, s.stack_id
),
totals AS (
  SELECT service, SUM(inuse_bytes) AS heap_bytes
  FROM held
  GROUP BY service
),
names AS (
  SELECT service, stack_id, MIN(owner) AS owner, MIN(leaf) AS leaf, MIN(folded) AS folded
  FROM stacks
  GROUP BY service, stack_id
)
SELECT h.service, h.stack_id, h.inuse_bytes, h.inuse_objects, h.instances, h.most_bytes,
       ROUND(CAST(h.inuse_bytes AS DOUBLE) / CAST(NULLIF(t.heap_bytes, 0) AS DOUBLE), 4) AS share,
       n.owner, n.leaf, n.folded
FROM held h
JOIN totals t ON h.service = t.service
LEFT JOIN names n ON h.service = n.service AND h.stack_id = n.stack_id
ORDER BY h.inuse_bytes DESC, h.service, h.stack_id;
