//! A program of the size of real services, for benchmarks: indexes made-up text, queries it, parses SQL, and writes
//! heap dumps in between. `search-service DIR DUMPS DOCUMENTS`.

use std::any::Any;
use std::ffi::CString;
use tantivy::collector::TopDocs;
use tantivy::query::QueryParser;
use tantivy::schema::{FAST, Facet, INDEXED, OwnedValue, STORED, Schema, TEXT, TantivyDocument};
use tantivy::{Document, Index, doc};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const QUERIES: [&str; 9] =
    ["w1 w2", "\"w3 w4\"", "title:5 AND w10", "number:[10 TO 90]", "w7~1", "tag:/a/3", "+w1 -w2 (w9 OR w8)^2", "title:[1 TO 5}", "w1*"];
const PATTERNS: [&str; 3] = [r"(\w+)\s+(\d{1,4})(?:-(\w+))?", r"^(?i)[a-zé]+(foo|bar|baz){2,5}$", r"\p{Greek}+|\p{L}{2,9}"];
const STATEMENTS: [&str; 4] = [
    "select a, sum(c) over (partition by d order by e) from t join u using (id) where x in (select y from z) group by 1",
    "with recursive r as (select 1 union all select n+1 from r where n<10) select case when n>3 then 'x' else 'y' end from r",
    "create table t (id bigint primary key, name varchar(20) not null default 'x', ts timestamp with time zone)",
    "merge into t using s on t.id=s.id when matched then update set a=s.a when not matched then insert (a) values (s.a)",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, dumps, documents] = arguments.as_slice() else { return Err("search-service DIR DUMPS DOCUMENTS".into()) };
    let (dumps, documents): (u64, u64) = (dumps.parse()?, documents.parse()?);
    let mut schema = Schema::builder();
    let title = schema.add_text_field("title", TEXT | STORED);
    let body = schema.add_text_field("body", TEXT);
    let tag = schema.add_facet_field("tag", tantivy::schema::FacetOptions::default());
    let number = schema.add_u64_field("number", FAST | INDEXED | STORED);
    let extra = schema.add_json_field("extra", TEXT | FAST | STORED);
    let schema = schema.build();
    let index = Index::create_in_ram(schema.clone());
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    let mut random = move |end: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % end
    };
    // What is never freed: the growth that a report finds.
    let mut kept: Vec<Box<dyn Any>> = Vec::new();
    let mut output = 0;
    for round in 0..dumps {
        let mut writer = index.writer_with_num_threads(2, 40_000_000)?;
        for at in 0..documents {
            let words: String = (0..20 + random(40)).map(|_| format!("w{} ", random(5000).pow(2) / 2500)).collect();
            let object = [
                ("k".to_owned(), OwnedValue::U64(at % 17)),
                ("s".to_owned(), OwnedValue::Str(format!("v{}", random(100)))),
                ("o".to_owned(), OwnedValue::Array(vec![OwnedValue::F64(at as f64), OwnedValue::Bool(at % 3 == 0)])),
            ];
            let facet = Facet::from(format!("/a/{}/{}", random(20), random(50)).as_str());
            let mut document = doc!(title => format!("title {at} {}", random(100)), body => words, number => random(1000), tag => facet);
            document.add_object(extra, object.into_iter().collect());
            writer.add_document(document)?;
        }
        writer.commit()?;
        writer.wait_merging_threads()?;
        let searcher = index.reader()?.searcher();
        let parser = QueryParser::for_index(&index, vec![title, body]);
        for query in QUERIES.iter().filter_map(|query| parser.parse_query(query).ok()) {
            let Ok(found) = searcher.search(&query, &TopDocs::with_limit(50).order_by_score()) else { continue };
            for (_, address) in &found {
                output += searcher.doc::<TantivyDocument>(*address)?.to_json(&schema).len();
            }
            kept.push(Box::new((query, found)));
        }
        for pattern in PATTERNS {
            let pattern = regex::Regex::new(pattern)?;
            output += pattern.find_iter("hello 123 abc-77 foobar").count();
            kept.push(Box::new(pattern));
        }
        for statement in STATEMENTS {
            match sqlparser::parser::Parser::parse_sql(&sqlparser::dialect::GenericDialect {}, statement) {
                Ok(parsed) => {
                    output += format!("{parsed:?}").len() + parsed.iter().map(|one| one.to_string().len()).sum::<usize>();
                    kept.push(Box::new(parsed));
                }
                Err(error) => kept.push(Box::new(error)),
            }
        }
        kept.push(Box::new(searcher));
        let stamp = 1_763_650_000_000 + round * 10_000;
        let path = CString::new(format!("{dir}/{stamp}.heap"))?;
        // SAFETY: the control takes the address of a C string, which lives until after the call.
        unsafe { tikv_jemalloc_ctl::raw::write(b"prof.dump\0", path.as_ptr()) }.map_err(|error| error.to_string())?;
    }
    println!("{output}");
    Ok(())
}
