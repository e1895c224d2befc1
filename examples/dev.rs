use heaptriage::address::*;
use heaptriage::analysis::owner::*;
use heaptriage::model::mapping::*;
use heaptriage::model::stack::*;
use heaptriage::symbolize::*;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let mut opts = SymbolOptions::default();
    let mut verbose = false;
    let mut files = vec![];
    let mut i = 1;
    while i < args.len() {
        match args[i].as_str() {
            "-b" => {
                i += 1;
                opts.binaries.push(BinaryArg { module: None, path: args[i].clone().into() });
            }
            "-d" => {
                i += 1;
                opts.search_dirs.push(args[i].clone().into());
            }
            "-v" => verbose = true,
            f => files.push(f.to_owned()),
        }
        i += 1;
    }
    let mut st = StackTable::new();
    let mut maps = vec![];
    let mut order = vec![];
    for f in &files {
        let t = std::fs::read_to_string(f).unwrap();
        let mut inmaps = false;
        maps.clear();
        for l in t.lines() {
            if inmaps {
                if let Some(m) = heaptriage::input::maps::parse_line(l.as_bytes()) {
                    maps.push(heaptriage::model::ingest::mapping(&m));
                }
            } else if l.starts_with("MAPPED") {
                inmaps = true
            } else if let Some(p) = l.find('@') {
                let s: Vec<_> = l[p + 1..]
                    .split_whitespace()
                    .filter_map(|x| u64::from_str_radix(x.trim_start_matches("0x"), 16).ok())
                    .map(ReturnAddress::new)
                    .collect();
                if !s.is_empty() {
                    order.push(st.intern(&s));
                }
            }
        }
    }
    let space = AddressSpace::new(maps);
    let t = std::time::Instant::now();
    let (sy, no) = symbolize(&st, &space, &opts);
    eprintln!("{} addresses {} stacks {:?}", st.addresses().len(), st.len(), t.elapsed());
    for n in &no {
        eprintln!("warning: {n}")
    }
    for m in &sy.modules {
        println!("{:?}", m);
    }
    let mut ow = Owners::new(&sy);
    for id in st.ids() {
        let Some(o) = ow.of(st.stack(id)) else {
            println!("empty");
            continue;
        };
        println!(
            "OWNER {} {:?}:{:?} crate {:?} depth {} container {:?}",
            sy.function(o.frame),
            sy.file(o.frame),
            o.frame.line,
            o.krate,
            o.depth,
            o.container
        );
        if verbose {
            for a in st.stack(id) {
                for f in sy.frames(a) {
                    println!(
                        "     {:<10} {}{} @{}:{}",
                        format!("{:?}", f.role),
                        sy.function(f),
                        if f.inlined { " (inl)" } else { "" },
                        sy.file(f).unwrap_or("??"),
                        f.line.unwrap_or(0)
                    );
                }
            }
        }
    }
}
