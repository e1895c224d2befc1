-- Where growth is worst: the instances to open. For each service and stack with a vote (see the query `leaks`) the instances in
-- which it grows, the fastest first, nth counts them. Of an instance that was restarted start_us tells which process.
WITH
-- shared/growth.sql
ranked AS (
  SELECT g.service, g.build_id, g.stack_id, v.verdict, g.instance, g.start_us, g.last_us, g.last_bytes, g.grown_bytes, g.bytes_per_hour, g.r2, g.hours,
         ROW_NUMBER() OVER (PARTITION BY g.service, g.stack_id ORDER BY g.bytes_per_hour DESC, g.instance, g.start_us) AS nth
  FROM growth g
  JOIN verdicts v ON g.service = v.service AND g.build_id = v.build_id AND g.stack_id = v.stack_id
  WHERE g.grows = 1 AND (v.verdict = 'leak' OR v.verdict = 'suspicion')
),
names AS (
  SELECT service, stack_id, MIN(owner) AS owner, MIN(leaf) AS leaf
  FROM stacks
  GROUP BY service, stack_id
)
SELECT r.service, r.stack_id, r.verdict, r.nth, r.instance, r.build_id, r.start_us, r.last_us, r.last_bytes,
       ROUND(r.grown_bytes, 0) AS grown_bytes, ROUND(r.bytes_per_hour, 0) AS bytes_per_hour,
       ROUND(r.r2, 4) AS r2, ROUND(r.hours, 4) AS hours, n.owner, n.leaf
FROM ranked r
LEFT JOIN names n ON r.service = n.service AND r.stack_id = n.stack_id
WHERE r.nth <= 20
ORDER BY r.verdict, r.service, r.stack_id, r.nth;
