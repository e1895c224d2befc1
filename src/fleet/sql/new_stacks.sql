-- Stacks that the newest build of a service has and no earlier one had, the heaviest first. bytes_per_instance is the mean
-- over the dumps of the build, most_bytes the most that one instance held. Set `build` for stacks since another build.
-- A stack below the export's share may be new to the dataset only: `dumps` tells how often it was seen.
WITH settings AS (
  SELECT CAST(NULL AS STRING) AS build
),
seen AS (
  SELECT service, build_id, MIN(start_us) AS first_us, MIN(ts_us) AS seen_us, COUNT(*) AS dumps
  FROM snapshots
  WHERE heap_bytes IS NOT NULL
  GROUP BY service, build_id
),
ordered AS (
  SELECT s.*, ROW_NUMBER() OVER (PARTITION BY s.service ORDER BY s.first_us DESC, s.seen_us DESC, s.build_id DESC) AS back,
         COUNT(*) OVER (PARTITION BY s.service) AS builds
  FROM seen s
),
since AS (
  SELECT o.service, o.build_id, o.back, o.dumps
  FROM ordered o
  CROSS JOIN settings t
  WHERE o.builds > 1 AND ((t.build IS NULL AND o.back = 1) OR o.build_id = t.build)
),
held AS (
  SELECT s.service, s.stack_id,
         MAX(CASE WHEN b.back > n.back THEN 1 ELSE 0 END) AS earlier,
         SUM(CASE WHEN b.back <= n.back THEN CAST(s.inuse_bytes AS DOUBLE) ELSE 0e0 END) AS bytes,
         MAX(CASE WHEN b.back <= n.back THEN s.inuse_bytes ELSE 0 END) AS most_bytes,
         COUNT(DISTINCT CASE WHEN b.back <= n.back THEN s.instance END) AS instances,
         CAST(SUM(CASE WHEN b.back <= n.back THEN 1 ELSE 0 END) AS BIGINT) AS dumps,
         MAX(n.dumps) AS of_dumps, MAX(n.build_id) AS since_build
  FROM samples s
  JOIN ordered b ON s.service = b.service AND s.build_id = b.build_id
  JOIN since n ON s.service = n.service
  WHERE s.inuse_bytes > 0 AND s.stack_id <> 'other'
  GROUP BY s.service, s.stack_id
),
names AS (
  SELECT service, stack_id, MIN(owner) AS owner, MIN(leaf) AS leaf, MIN(folded) AS folded
  FROM stacks
  GROUP BY service, stack_id
)
SELECT h.service, h.since_build, h.stack_id, ROUND(h.bytes / CAST(h.of_dumps AS DOUBLE), 0) AS bytes_per_instance, h.most_bytes,
       h.instances, h.dumps, n.owner, n.leaf, n.folded
FROM held h
LEFT JOIN names n ON h.service = n.service AND h.stack_id = n.stack_id
WHERE h.earlier = 0
ORDER BY h.bytes / CAST(h.of_dumps AS DOUBLE) DESC, h.service, h.stack_id;
