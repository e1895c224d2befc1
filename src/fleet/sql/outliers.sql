-- Instances whose RSS is far from that of their build: a distance of more than `least_score` robust standard deviations
-- (1.4826 times the median absolute deviation, Iglewicz and Hoaglin, 1993), counted as at least 2 % of the median, and at least
-- `least_instances` to compare with. The stack named is the one that is furthest above its median over the build, NULL
-- where none makes up a fifth of the difference. Then ledger_row is the row of the ledger that is furthest above its median (dirty,
-- lazy_free and fragmentation are retention: freed, and kept by the allocator), NULL where no row makes up a fifth either.
WITH settings AS (
  SELECT 86400000000 AS running_us, 3.5e0 AS least_score, 5 AS least_instances
),
newest AS (
  SELECT service, MAX(ts_us) AS newest_us
  FROM snapshots
  GROUP BY service
),
ranked AS (
  SELECT s.service, s.build_id, s.instance, s.start_us, s.ts_us, s.rss, s.heap_bytes,
         COALESCE(CAST(s.ledger_dirty AS DOUBLE), 0e0) AS dirty,
         COALESCE(CAST(s.ledger_lazy_free AS DOUBLE), 0e0) AS lazy_free,
         COALESCE(CAST(s.ledger_fragmentation AS DOUBLE), 0e0) AS fragmentation,
         COALESCE(CAST(s.ledger_huge_pages AS DOUBLE), 0e0) AS huge_pages,
         COALESCE(CAST(s.ledger_tcache AS DOUBLE), 0e0) AS tcache,
         COALESCE(CAST(s.ledger_metadata AS DOUBLE), 0e0) AS metadata,
         COALESCE(CAST(s.ledger_foreign_heap AS DOUBLE), 0e0) AS foreign_heap,
         COALESCE(CAST(s.ledger_thread_stacks AS DOUBLE), 0e0) AS thread_stacks,
         COALESCE(CAST(s.ledger_file_mapped AS DOUBLE), 0e0) AS file_mapped,
         COALESCE(CAST(s.ledger_shared_memory AS DOUBLE), 0e0) AS shared_memory,
         COALESCE(CAST(s.ledger_other_anonymous AS DOUBLE), 0e0) AS other_anonymous,
         ROW_NUMBER() OVER (PARTITION BY s.service, s.instance ORDER BY s.ts_us DESC, s.start_us DESC) AS back
  FROM snapshots s
  JOIN newest n ON s.service = n.service
  CROSS JOIN settings t
  WHERE s.rss IS NOT NULL AND s.ts_us >= n.newest_us - t.running_us
),
last AS (
  SELECT service, build_id, instance, start_us, ts_us, CAST(rss AS DOUBLE) AS rss, heap_bytes,
         dirty, lazy_free, fragmentation, huge_pages, tcache, metadata, foreign_heap, thread_stacks, file_mapped, shared_memory, other_anonymous
  FROM ranked
  WHERE back = 1
),
medians AS (
  SELECT service, build_id, MEDIAN(rss) AS median_rss, COUNT(*) AS instances,
         MEDIAN(dirty) AS dirty, MEDIAN(lazy_free) AS lazy_free, MEDIAN(fragmentation) AS fragmentation, MEDIAN(huge_pages) AS huge_pages,
         MEDIAN(tcache) AS tcache, MEDIAN(metadata) AS metadata, MEDIAN(foreign_heap) AS foreign_heap, MEDIAN(thread_stacks) AS thread_stacks,
         MEDIAN(file_mapped) AS file_mapped, MEDIAN(shared_memory) AS shared_memory, MEDIAN(other_anonymous) AS other_anonymous
  FROM last
  GROUP BY service, build_id
),
deviations AS (
  SELECT l.service, l.build_id, MEDIAN(ABS(l.rss - m.median_rss)) AS deviation
  FROM last l
  JOIN medians m ON l.service = m.service AND l.build_id = m.build_id
  GROUP BY l.service, l.build_id
),
outliers AS (
  SELECT l.service, l.build_id, l.instance, l.start_us, l.ts_us, l.rss, l.heap_bytes, m.median_rss, m.instances,
         (l.rss - m.median_rss) / GREATEST(1.4826e0 * d.deviation, 0.02e0 * m.median_rss, 1e0) AS score,
         l.dirty - m.dirty AS dirty, l.lazy_free - m.lazy_free AS lazy_free, l.fragmentation - m.fragmentation AS fragmentation, l.huge_pages - m.huge_pages AS huge_pages,
         l.tcache - m.tcache AS tcache, l.metadata - m.metadata AS metadata, l.foreign_heap - m.foreign_heap AS foreign_heap, l.thread_stacks - m.thread_stacks AS thread_stacks,
         l.file_mapped - m.file_mapped AS file_mapped, l.shared_memory - m.shared_memory AS shared_memory, l.other_anonymous - m.other_anonymous AS other_anonymous
  FROM last l
  JOIN medians m ON l.service = m.service AND l.build_id = m.build_id
  JOIN deviations d ON l.service = d.service AND l.build_id = d.build_id
),
most AS (
  SELECT service, instance, start_us,
         GREATEST(dirty, lazy_free, fragmentation, huge_pages, tcache, metadata, foreign_heap, thread_stacks, file_mapped, shared_memory, other_anonymous) AS row_excess,
         CASE GREATEST(dirty, lazy_free, fragmentation, huge_pages, tcache, metadata, foreign_heap, thread_stacks, file_mapped, shared_memory, other_anonymous)
           WHEN dirty THEN 'dirty'
           WHEN lazy_free THEN 'lazy_free'
           WHEN fragmentation THEN 'fragmentation'
           WHEN huge_pages THEN 'huge_pages'
           WHEN tcache THEN 'tcache'
           WHEN metadata THEN 'metadata'
           WHEN foreign_heap THEN 'foreign_heap'
           WHEN thread_stacks THEN 'thread_stacks'
           WHEN file_mapped THEN 'file_mapped'
           WHEN shared_memory THEN 'shared_memory'
           WHEN other_anonymous THEN 'other_anonymous'
         END AS ledger_row
  FROM outliers
),
held AS (
  SELECT s.service, s.build_id, s.instance, s.start_us, s.stack_id, CAST(s.inuse_bytes AS DOUBLE) AS bytes
  FROM samples s
  JOIN last l ON s.service = l.service AND s.instance = l.instance AND s.start_us = l.start_us AND s.ts_us = l.ts_us
),
usual AS (
  SELECT service, build_id, stack_id, MEDIAN(bytes) AS median_bytes, COUNT(*) AS holders
  FROM held
  GROUP BY service, build_id, stack_id
),
above AS (
  SELECT h.service, h.instance, h.start_us, h.stack_id,
         h.bytes - CASE WHEN u.holders * 2 > o.instances THEN u.median_bytes ELSE 0e0 END AS excess
  FROM held h
  JOIN usual u ON h.service = u.service AND h.build_id = u.build_id AND h.stack_id = u.stack_id
  JOIN outliers o ON h.service = o.service AND h.instance = o.instance AND h.start_us = o.start_us
),
furthest AS (
  SELECT service, instance, start_us, stack_id, excess,
         ROW_NUMBER() OVER (PARTITION BY service, instance, start_us ORDER BY excess DESC, stack_id) AS nth
  FROM above
  WHERE excess > 0e0
),
names AS (
  SELECT service, stack_id, MIN(owner) AS owner, MIN(leaf) AS leaf
  FROM stacks
  GROUP BY service, stack_id
)
SELECT o.service, o.build_id, o.instance, o.start_us, o.ts_us AS last_us, CAST(o.rss AS BIGINT) AS rss,
       CAST(o.median_rss AS BIGINT) AS median_rss, o.instances, ROUND(o.score, 1) AS score, o.heap_bytes,
       f.stack_id, ROUND(f.excess, 0) AS excess_bytes, n.owner, n.leaf,
       CASE WHEN f.stack_id IS NULL AND o.score > 0e0 AND g.row_excess >= 0.2e0 * (o.rss - o.median_rss) THEN g.ledger_row END AS ledger_row,
       CASE WHEN f.stack_id IS NULL AND o.score > 0e0 AND g.row_excess >= 0.2e0 * (o.rss - o.median_rss) THEN ROUND(g.row_excess, 0) END AS row_excess
FROM outliers o
CROSS JOIN settings t
JOIN most g ON o.service = g.service AND o.instance = g.instance AND o.start_us = g.start_us
LEFT JOIN furthest f ON o.service = f.service AND o.instance = f.instance AND o.start_us = f.start_us AND f.nth = 1
  AND f.excess >= 0.2e0 * (o.rss - o.median_rss)
LEFT JOIN names n ON f.service = n.service AND f.stack_id = n.stack_id
WHERE ABS(o.score) > t.least_score AND o.instances >= t.least_instances
ORDER BY score DESC, o.service, o.instance;
