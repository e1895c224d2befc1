settings AS (
  SELECT 8 AS least_dumps,      -- fewer dumps do not show a course
         1048576e0 AS least_bytes, -- growth over the span below which an instance has no vote
         0.8e0 AS least_r2,     -- share of the variance that a straight line explains
         0.25e0 AS late_share,  -- the last quarter must still rise at this share of the mean pace: else a plateau
         3 AS least_votes,      -- growing instances that make a leak of a suspicion ...
         0.02e0 AS least_share  -- ... and their share of the instances of the build
),
spans AS (
  SELECT service, build_id, instance, start_us, MIN(ts_us) AS first_us, MAX(ts_us) AS last_us, COUNT(*) AS dumps
  FROM snapshots
  WHERE heap_bytes IS NOT NULL
  GROUP BY service, build_id, instance, start_us
),
courses AS (
  SELECT s.service, s.build_id, s.instance, s.start_us, s.stack_id,
         COUNT(*) AS points,
         MAX(w.last_us) AS last_us,
         MAX(CASE WHEN s.ts_us = w.last_us THEN s.inuse_bytes ELSE 0 END) AS last_bytes,
         AVG(CASE WHEN (s.ts_us - w.first_us) * 4 < (w.last_us - w.first_us) THEN CAST(s.inuse_bytes AS DOUBLE) END) AS q1,
         AVG(CASE WHEN (s.ts_us - w.first_us) * 4 >= (w.last_us - w.first_us)
                   AND (s.ts_us - w.first_us) * 2 < (w.last_us - w.first_us) THEN CAST(s.inuse_bytes AS DOUBLE) END) AS q2,
         AVG(CASE WHEN (s.ts_us - w.first_us) * 2 >= (w.last_us - w.first_us)
                   AND (s.ts_us - w.first_us) * 4 < (w.last_us - w.first_us) * 3 THEN CAST(s.inuse_bytes AS DOUBLE) END) AS q3,
         AVG(CASE WHEN (s.ts_us - w.first_us) * 4 >= (w.last_us - w.first_us) * 3 THEN CAST(s.inuse_bytes AS DOUBLE) END) AS q4,
         regr_slope(CAST(s.inuse_bytes AS DOUBLE), CAST(s.ts_us - w.first_us AS DOUBLE) / 3.6e9) AS bytes_per_hour,
         regr_r2(CAST(s.inuse_bytes AS DOUBLE), CAST(s.ts_us - w.first_us AS DOUBLE) / 3.6e9) AS r2,
         CAST(MAX(w.last_us - w.first_us) AS DOUBLE) / 3.6e9 AS hours
  FROM samples s
  JOIN spans w ON s.service = w.service AND s.build_id = w.build_id AND s.instance = w.instance AND s.start_us = w.start_us
  CROSS JOIN settings t
  WHERE w.dumps >= t.least_dumps AND s.stack_id <> 'other'
  GROUP BY s.service, s.build_id, s.instance, s.start_us, s.stack_id
),
growth AS (
  SELECT c.service, c.build_id, c.instance, c.start_us, c.stack_id, c.last_us, c.last_bytes, c.bytes_per_hour, c.r2, c.hours,
         c.bytes_per_hour * c.hours AS grown_bytes,
         CASE WHEN c.points >= t.least_dumps
               AND c.q1 < c.q2 AND c.q2 < c.q3 AND c.q3 < c.q4
               AND (c.q4 - c.q3) * 3e0 >= t.late_share * (c.q4 - c.q1)
               AND c.r2 >= t.least_r2
               AND c.bytes_per_hour * c.hours >= t.least_bytes
              THEN 1 ELSE 0 END AS grows,
         CASE WHEN c.points >= t.least_dumps
               AND c.q1 > c.q2 AND c.q2 > c.q3 AND c.q3 > c.q4
               AND (c.q3 - c.q4) * 3e0 >= t.late_share * (c.q1 - c.q4)
               AND c.r2 >= t.least_r2
               AND c.bytes_per_hour * c.hours <= -t.least_bytes
              THEN 1 ELSE 0 END AS falls
  FROM courses c
  CROSS JOIN settings t
),
watched AS (
  SELECT w.service, w.build_id, COUNT(DISTINCT w.instance) AS instances, MIN(w.start_us) AS first_start_us, MIN(w.first_us) AS first_seen_us
  FROM spans w
  CROSS JOIN settings t
  WHERE w.dumps >= t.least_dumps
  GROUP BY w.service, w.build_id
),
votes AS (
  SELECT g.service, g.build_id, g.stack_id,
         MAX(b.instances) AS instances,
         MAX(b.first_start_us) AS build_first_us,
         COUNT(DISTINCT g.instance) AS holding,
         COUNT(DISTINCT CASE WHEN g.grows = 1 THEN g.instance END) AS growing,
         COUNT(DISTINCT CASE WHEN g.falls = 1 THEN g.instance END) AS falling,
         MEDIAN(CASE WHEN g.grows = 1 THEN g.bytes_per_hour END) AS bytes_per_hour,
         MEDIAN(CASE WHEN g.grows = 1 THEN g.r2 END) AS r2,
         SUM(CASE WHEN g.grows = 1 THEN g.grown_bytes ELSE 0e0 END) AS grown_bytes,
         CAST(SUM(g.last_bytes) AS BIGINT) AS last_bytes
  FROM growth g
  JOIN watched b ON g.service = b.service AND g.build_id = b.build_id
  GROUP BY g.service, g.build_id, g.stack_id
),
verdicts AS (
  SELECT v.*,
         CASE WHEN v.growing = 0 THEN 'quiet'
              WHEN v.falling > 0 AND (v.growing <= v.falling
                OR (v.growing - v.falling) * (v.growing - v.falling) < 4 * (v.growing + v.falling)) THEN 'noise'
              WHEN v.falling > 0 AND (v.growing - v.falling) * (v.growing - v.falling) < 16 * (v.growing + v.falling) THEN 'suspicion'
              WHEN v.growing >= t.least_votes AND CAST(v.growing AS DOUBLE) >= t.least_share * CAST(v.instances AS DOUBLE) THEN 'leak'
              WHEN v.growing = v.instances THEN 'leak'
              ELSE 'suspicion' END AS verdict
  FROM votes v
  CROSS JOIN settings t
),
