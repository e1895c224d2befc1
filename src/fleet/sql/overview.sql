-- What the dataset covers: one row a service and build.
SELECT service, build_id,
       COUNT(DISTINCT instance) AS instances,
       COUNT(DISTINCT instance || ' ' || CAST(start_us AS STRING)) AS incarnations,
       COUNT(*) AS snapshots,
       CAST(SUM(CASE WHEN heap_bytes IS NOT NULL THEN 1 ELSE 0 END) AS BIGINT) AS dumps,
       MIN(ts_us) AS first_us, MAX(ts_us) AS last_us
FROM snapshots
GROUP BY service, build_id
ORDER BY service, first_us, build_id;
