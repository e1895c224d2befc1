-- Leaks by vote of the fleet: in how many instances of a build a stack grows steadily, how fast, and since which build.
-- An instance votes for a stack when its bytes rise from quarter to quarter of the span, along a straight line, to the end:
-- a sawtooth, a plateau and a warm-up do not. Noise makes as many fall as grow: growing must outnumber falling by four standard
-- deviations of a fair coin for a leak, by two for a suspicion. One row for each service, build and stack with a vote, the worst first.
-- since_build is the first build with the verdict `leak`, quiet_builds is the number of builds before it that were watched
-- and had no vote. bytes_per_hour and r2 are medians over the growing instances, grown_bytes is their sum.
WITH
-- shared/growth.sql
builds AS (
  SELECT service, build_id, ROW_NUMBER() OVER (PARTITION BY service ORDER BY first_start_us, first_seen_us, build_id) AS nth
  FROM watched
),
since AS (
  SELECT v.service, v.stack_id, MIN(b.nth) AS nth
  FROM verdicts v
  JOIN builds b ON v.service = b.service AND v.build_id = b.build_id
  WHERE v.verdict = 'leak'
  GROUP BY v.service, v.stack_id
),
quiet AS (
  SELECT n.service, n.stack_id,
         MAX(CASE WHEN b.nth = n.nth THEN b.build_id END) AS since_build,
         CAST(SUM(CASE WHEN b.nth < n.nth AND COALESCE(v.verdict, 'quiet') IN ('quiet', 'noise') THEN 1 ELSE 0 END) AS BIGINT) AS quiet_builds
  FROM since n
  JOIN builds b ON n.service = b.service AND b.nth <= n.nth
  LEFT JOIN verdicts v ON v.service = b.service AND v.build_id = b.build_id AND v.stack_id = n.stack_id
  GROUP BY n.service, n.stack_id
),
names AS (
  SELECT service, stack_id, MIN(owner) AS owner, MIN(leaf) AS leaf, MIN(folded) AS folded
  FROM stacks
  GROUP BY service, stack_id
)
SELECT v.service, v.build_id, v.stack_id, v.verdict, v.growing, v.falling, v.instances,
       ROUND(v.bytes_per_hour, 0) AS bytes_per_hour, ROUND(v.r2, 4) AS r2,
       ROUND(v.grown_bytes, 0) AS grown_bytes, v.last_bytes,
       q.since_build, q.quiet_builds, n.owner, n.leaf, n.folded
FROM verdicts v
LEFT JOIN quiet q ON v.service = q.service AND v.stack_id = q.stack_id
LEFT JOIN names n ON v.service = n.service AND v.stack_id = n.stack_id
WHERE v.verdict = 'leak' OR v.verdict = 'suspicion'
ORDER BY verdict, grown_bytes DESC, service, build_id, stack_id;
