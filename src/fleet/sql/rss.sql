-- Where resident memory is, by service and build: the last snapshot of each running instance. Running is an instance whose
-- last snapshot is no older than `running_us` at the time of the service's last, of a restarted one the last incarnation counts.
-- rss_sum and the ledger_* columns are sums over these instances: the ledger adds up to ledger_rss_sum, the RSS of those
-- that recorded enough for one. Bytes.
WITH settings AS (
  SELECT 86400000000 AS running_us
),
newest AS (
  SELECT service, MAX(ts_us) AS newest_us
  FROM snapshots
  GROUP BY service
),
last AS (
  SELECT s.*, ROW_NUMBER() OVER (PARTITION BY s.service, s.instance ORDER BY s.ts_us DESC, s.start_us DESC) AS back
  FROM snapshots s
  JOIN newest n ON s.service = n.service
  CROSS JOIN settings t
  WHERE s.rss IS NOT NULL AND s.ts_us >= n.newest_us - t.running_us
)
SELECT service, build_id,
       COUNT(*) AS instances,
       CAST(MEDIAN(CAST(rss AS DOUBLE)) AS BIGINT) AS rss_median,
       MAX(rss) AS rss_max,
       CAST(SUM(rss) AS BIGINT) AS rss_sum,
       CAST(SUM(CASE WHEN ledger_live IS NOT NULL THEN rss ELSE 0 END) AS BIGINT) AS ledger_rss_sum,
       CAST(SUM(ledger_live) AS BIGINT) AS ledger_live,
       CAST(SUM(ledger_sampling_overhead) AS BIGINT) AS ledger_sampling_overhead,
       CAST(SUM(ledger_tcache) AS BIGINT) AS ledger_tcache,
       CAST(SUM(ledger_fragmentation) AS BIGINT) AS ledger_fragmentation,
       CAST(SUM(ledger_metadata) AS BIGINT) AS ledger_metadata,
       CAST(SUM(ledger_dirty) AS BIGINT) AS ledger_dirty,
       CAST(SUM(ledger_lazy_free) AS BIGINT) AS ledger_lazy_free,
       CAST(SUM(ledger_untouched) AS BIGINT) AS ledger_untouched,
       CAST(SUM(ledger_huge_pages) AS BIGINT) AS ledger_huge_pages,
       CAST(SUM(ledger_foreign_heap) AS BIGINT) AS ledger_foreign_heap,
       CAST(SUM(ledger_thread_stacks) AS BIGINT) AS ledger_thread_stacks,
       CAST(SUM(ledger_file_mapped) AS BIGINT) AS ledger_file_mapped,
       CAST(SUM(ledger_shared_memory) AS BIGINT) AS ledger_shared_memory,
       CAST(SUM(ledger_other_anonymous) AS BIGINT) AS ledger_other_anonymous,
       CAST(SUM(ledger_unattributed) AS BIGINT) AS ledger_unattributed
FROM last
WHERE back = 1
GROUP BY service, build_id
ORDER BY rss_sum DESC, service, build_id;
