-- When instances reach the limit of their cgroup at the pace of their RSS: a straight line over the incarnation, for those that
-- grow along one. The nearest first, hours_left is 0 for one that is there.
WITH settings AS (
  SELECT 86400000000 AS running_us, 8 AS least_snapshots, 0.5e0 AS least_r2
),
newest AS (
  SELECT service, MAX(ts_us) AS newest_us
  FROM snapshots
  GROUP BY service
),
spans AS (
  SELECT service, build_id, instance, start_us, MIN(ts_us) AS first_us, MAX(ts_us) AS last_us, COUNT(*) AS points
  FROM snapshots
  WHERE rss IS NOT NULL AND limit_bytes IS NOT NULL
  GROUP BY service, build_id, instance, start_us
),
paces AS (
  SELECT s.service, s.build_id, s.instance, s.start_us, w.last_us,
         MAX(CASE WHEN s.ts_us = w.last_us THEN s.rss END) AS rss,
         MAX(CASE WHEN s.ts_us = w.last_us THEN s.limit_bytes END) AS limit_bytes,
         regr_slope(CAST(s.rss AS DOUBLE), CAST(s.ts_us - w.first_us AS DOUBLE) / 3.6e9) AS bytes_per_hour,
         regr_r2(CAST(s.rss AS DOUBLE), CAST(s.ts_us - w.first_us AS DOUBLE) / 3.6e9) AS r2
  FROM snapshots s
  JOIN spans w ON s.service = w.service AND s.build_id = w.build_id AND s.instance = w.instance AND s.start_us = w.start_us
  JOIN newest n ON s.service = n.service
  CROSS JOIN settings t
  WHERE w.points >= t.least_snapshots AND w.last_us >= n.newest_us - t.running_us AND s.rss IS NOT NULL AND s.limit_bytes IS NOT NULL
  GROUP BY s.service, s.build_id, s.instance, s.start_us, w.last_us
),
ranked AS (
  SELECT p.*, ROW_NUMBER() OVER (PARTITION BY p.service, p.instance ORDER BY p.start_us DESC) AS back
  FROM paces p
)
SELECT p.service, p.build_id, p.instance, p.start_us, p.last_us, p.rss, p.limit_bytes,
       ROUND(p.bytes_per_hour, 0) AS bytes_per_hour, ROUND(p.r2, 4) AS r2,
       ROUND(GREATEST(CAST(p.limit_bytes - p.rss AS DOUBLE), 0e0) / p.bytes_per_hour, 2) AS hours_left
FROM ranked p
CROSS JOIN settings t
WHERE p.back = 1 AND p.bytes_per_hour > 0e0 AND p.r2 >= t.least_r2
ORDER BY hours_left, p.service, p.instance;
