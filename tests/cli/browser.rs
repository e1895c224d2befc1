//! The HTML page in a real headless Chromium, driven over WebDriver: no errors, no requests, and every control does
//! what it says.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// `None` where the browser is not installed and need not be.
    fn start() -> Option<Browser> {
        let installed =
            |name: &str| std::env::var_os("PATH").is_some_and(|paths| std::env::split_paths(&paths).any(|dir| dir.join(name).is_file()));
        let found = installed("chromium") && installed("chromedriver");
        assert!(
            found || std::env::var_os("HEAPTRIAGE_REQUIRE_TOOLS").is_none(),
            "chromium and chromedriver are required and not installed"
        );
        if !found {
            eprintln!("did not run: chromium or chromedriver is not installed");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let driver =
            Command::new("chromedriver").arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Browser { driver, port, session: String::new(), _profile: profile };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "chromedriver does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        let mut args: Vec<String> = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1300,1000",
        ]
        .map(str::to_owned)
        .to_vec();
        args.push(format!("--user-data-dir={}", browser._profile.path().display()));
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": args}, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}}});
        browser.session = browser.call("POST", "/session", &wanted)["sessionId"].as_str().unwrap().to_owned();
        Some(browser)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let body = if method == "POST" { body.to_string() } else { String::new() };
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            .unwrap();
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut bytes = vec![0; length];
        reader.read_exact(&mut bytes).unwrap();
        let answer: Value = serde_json::from_slice(&bytes).unwrap();
        assert!(answer["value"].get("error").is_none_or(Value::is_null), "{path}: {}", answer["value"]);
        answer["value"].clone()
    }

    fn session(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, &format!("/session/{}{path}", self.session), body)
    }

    fn open(&self, file: &Path) {
        self.session("POST", "/url", &json!({"url": format!("file://{}", file.display())}));
        self.settle(0);
    }

    fn js(&self, script: &str) -> Value {
        self.session("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    fn text(&self, script: &str) -> String {
        self.js(script).as_str().unwrap_or_default().to_owned()
    }

    /// How often the page was drawn.
    fn drawn(&self) -> u64 {
        self.text("return document.documentElement.dataset.ready || '0'").parse().unwrap()
    }

    /// Waits until the page was drawn more than `than` times.
    #[track_caller]
    fn settle(&self, than: u64) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.drawn() <= than {
            assert!(
                Instant::now() < deadline,
                "the page does not draw: {}",
                self.text("return document.getElementById('trouble').textContent")
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs a script that makes the page draw again.
    #[track_caller]
    fn act(&self, script: &str) {
        let before = self.drawn();
        self.js(script);
        self.settle(before);
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        self.session("POST", "/se/log", &json!({"type": kind})).as_array().cloned().unwrap_or_default()
    }

    /// No console message, and nothing was requested but the page itself.
    #[track_caller]
    fn is_quiet(&self) {
        let console = self.log("browser");
        assert!(console.is_empty(), "{console:?}");
        for entry in self.log("performance") {
            let message: Value = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
            if message["message"]["method"] == "Network.requestWillBeSent" {
                let url = message["message"]["params"]["request"]["url"].as_str().unwrap();
                // The browser's own first tab is none of the page's requests.
                assert!(["file:///", "data:", "about:", "chrome://"].iter().any(|own| url.starts_with(own)), "requested {url}");
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.session("DELETE", "", &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures")
}

fn page(directory: &Path, command: &str) -> PathBuf {
    let file = directory.join(format!("{command}.html"));
    let output = Command::new(env!("CARGO_BIN_EXE_heaptriage"))
        .args(["-q", command, "--no-cache", "--format", "html", "--binary"])
        .arg(captures().join("bin/quarryd"))
        .arg(captures().join("catalog"))
        .arg("-o")
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    file
}

const TYPE: &str =
    "const field = document.querySelector(arguments_[0]); field.value = arguments_[1]; field.dispatchEvent(new Event('input'));";

fn typing(selector: &str, value: &str) -> String {
    format!("const arguments_ = {}; {TYPE}", json!([selector, value]))
}

#[test]
fn the_report_as_a_page() {
    let directory = tempfile::tempdir().unwrap();
    let file = page(directory.path(), "report");
    assert!(std::fs::metadata(&file).unwrap().len() < 2_000_000);
    let Some(browser) = Browser::start() else { return };
    browser.open(&file);
    browser.is_quiet();

    // Choosing a pair changes ledger, suspects, flame view and table, and the address.
    let rss = || browser.text("return document.querySelector('#ledger tr.total').innerText.replace(/\\s+/g, ' ')");
    let (whole, detail, rows) =
        (rss(), browser.text("return document.querySelector('#detail').innerText"), "return document.querySelector('#table p').innerText");
    let all = browser.text(rows);
    browser.act("const to = document.getElementById('mark-b'); to.value = 3; to.dispatchEvent(new Event('change'));");
    assert_ne!(rss(), whole);
    assert_ne!(browser.text("return document.querySelector('#detail').innerText"), detail);
    assert_ne!(browser.text(rows), all);
    assert!(browser.text("return location.hash").contains("b=3"));
    assert!(browser.text("return document.querySelector('.trend figcaption').innerText").contains("to 14 s"));
    browser
        .act("document.querySelector('[data-handle=a]').dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}))");
    assert_eq!(browser.text("return document.querySelector('[data-handle=a]').getAttribute('aria-valuenow')"), "2");
    let click = |shift: bool, at: f64| {
        format!(
            "const area = document.querySelector('#chart svg'), box = area.getBoundingClientRect(); area.dispatchEvent(new MouseEvent('click', {{clientX: box.left + box.width * {at}, clientY: box.top + 100, shiftKey: {shift}, bubbles: true}}))"
        )
    };
    browser.act(&click(false, 0.99));
    browser.act(&click(true, 0.26));
    assert!(browser.text("return location.hash").contains("a=2") && !browser.text("return location.hash").contains("b="));
    browser.act("document.querySelector('#pair button').click()");
    assert_eq!(rss(), whole);

    // Search says the share that it highlights.
    browser.act(&typing("input[name=q]", "Lease::acquire"));
    let found = browser.text("return document.getElementById('found').innerText");
    assert!(found.contains(" % found: ") && found.contains("MiB"), "{found}");
    browser.act(&typing("input[name=q]", "no such function"));
    assert_eq!(browser.text("return document.getElementById('found').innerText"), "nothing found");
    browser.act(&typing("input[name=q]", "("));
    assert_eq!(browser.text("return document.querySelector('input[name=q]').getAttribute('aria-invalid')"), "true");
    browser.act(&typing("input[name=q]", ""));

    // A filter keeps the stacks it names, in the flame view and in the table.
    let stacks = || browser.text(rows).split(' ').next().unwrap().parse::<u64>().unwrap();
    let before = stacks();
    browser.act(&typing("input[name=focus]", "subscribe"));
    assert!((1..before).contains(&stacks()), "{} of {before}", stacks());
    let kept = stacks();
    browser.act(&typing("input[name=focus]", ""));
    browser.act(&typing("input[name=ignore]", "subscribe"));
    assert_eq!(stacks() + kept, before);
    browser.act(&typing("input[name=ignore]", ""));

    // Keyboard: down to the first callee, Enter zooms, Escape zooms out, s shows callers and callees.
    let key = |key: &str| {
        format!("document.querySelector('#flame .canvas').dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}', bubbles: true}}))")
    };
    browser.js("document.querySelector('#flame .canvas').focus()");
    browser.js(&key("ArrowDown"));
    browser.js(&key("ArrowDown"));
    let active = browser.text("return document.querySelector('#flame [role=treeitem]').getAttribute('aria-label')");
    assert!(active.contains("live at") && active.contains("objects"), "{active}");
    browser.act(&key("Enter"));
    assert!(browser.text("return location.hash").contains("zoom="));
    browser.act(&key("Escape"));
    assert!(!browser.text("return location.hash").contains("zoom="));
    browser.js(&key("ArrowDown"));
    browser.act(&key("s"));
    assert!(browser.text("return document.getElementById('sandwich').innerText").contains("Callers and callees of"));
    browser.act("document.querySelector('#sandwich button').click()");

    // Turned round, the functions that allocate stand at the root; callers and callees stay what they are.
    browser.act("document.querySelector('input[name=turn]').click()");
    assert!(browser.text("return location.hash").contains("turn=1"));
    browser.js("document.querySelector('#flame .canvas').focus()");
    browser.js(&key("Home"));
    browser.js(&key("ArrowDown"));
    let root = browser.text("return document.querySelector('#flame [role=treeitem]').getAttribute('aria-label')");
    assert!(root.starts_with("quarryd::catalog::PageCache::read_page") || root.starts_with("quarryd::catalog::read_page"), "{root}");
    browser.act(&key("s"));
    let up = "return document.querySelector('#sandwich [role=tree]').getAttribute('aria-label')";
    assert_eq!(browser.text(up), "Callers");
    browser.act("document.querySelector('#sandwich button').click()");
    browser.act("document.querySelector('input[name=turn]').click()");

    // Small rows of the ledger fold into one; the parts add up either way.
    let rows_of_ledger = || browser.js("return document.querySelectorAll('#ledger tbody tr').length").as_u64().unwrap();
    let folded = rows_of_ledger();
    browser.act("document.querySelector('button.fold').click()");
    assert!(rows_of_ledger() > folded + 3);
    assert_eq!(browser.text("return document.querySelector('button.fold').getAttribute('aria-expanded')"), "true");
    browser.act("document.querySelector('button.fold').click()");
    assert_eq!(rows_of_ledger(), folded);

    // Other ways to look.
    browser.act("document.querySelector('input[name=frames]').click()");
    assert!(browser.text("return location.hash").contains("frames=all"));
    for by in ["crate", "line", "thread"] {
        if browser.js(&format!("return !!document.querySelector('select[name=by] option[value={by}]')")) == json!(true) {
            browser.act(&format!(
                "const by = document.querySelector('select[name=by]'); by.value = '{by}'; by.dispatchEvent(new Event('change'))"
            ));
        }
    }
    for mode in ["live", "difference", "growth"] {
        browser.act(&format!("document.querySelector('input[name=mode][value={mode}]').click()"));
        let legend = browser.text("return document.getElementById('says').innerText");
        assert_eq!(legend.contains("red grew, blue shrank"), mode == "difference", "{legend}");
        if mode == "difference" {
            browser.act("document.querySelector('input[name=colors]').click()");
            assert!(browser.text("return document.getElementById('says').innerText").contains("orange grew, purple shrank"));
        }
    }
    browser.act("document.querySelector('th.objects button').click()");
    assert_eq!(browser.text("return document.querySelector('th.objects').getAttribute('aria-sort')"), "descending");
    browser.js("document.querySelector('#table tbody tr:nth-child(2) button').click()");
    assert!(browser.text("return document.getElementById('row-detail').innerText").contains("Copy as text"));
    browser.act("document.querySelector('.suspect .explore').click()");
    assert!(browser.text("return document.querySelector('input[name=focus]').value").starts_with("^quarryd::"));
    assert!(browser.text("return document.querySelector('.ticket').textContent").contains("heaptriage report: quarryd"));
    browser.is_quiet();
}

/// What the page computes for a pair is what `diff` says.
#[test]
fn the_page_and_the_command_line_agree() {
    let directory = tempfile::tempdir().unwrap();
    let file = page(directory.path(), "diff");
    let output = Command::new(env!("CARGO_BIN_EXE_heaptriage"))
        .args(["-q", "diff", "--no-cache", "--json", "--binary"])
        .arg(captures().join("bin/quarryd"))
        .arg(captures().join("catalog"))
        .output()
        .unwrap();
    let diff: Value = serde_json::from_slice(&output.stdout).unwrap();
    let Some(browser) = Browser::start() else { return };
    browser.open(&file);
    assert!(!browser.text("return document.body.innerText").contains("null"));
    let says = browser.text("return document.querySelector('#table p').innerText");
    let mib = |key: &str| format!("{:.1} MiB", diff["total"][key].as_f64().unwrap() / 1024.0 / 1024.0);
    assert!(says.contains(&mib("current_bytes")) && says.contains(&mib("delta_bytes")), "{says} {}", diff["total"]);
    browser
        .act("const group = document.querySelector('select[name=group]'); group.value = 'owner'; group.dispatchEvent(new Event('change'))");
    let first = browser.text("return document.querySelector('#table tbody tr:nth-child(2)').innerText.replace(/\\s+/g, ' ')");
    let row = &diff["rows"][0];
    let interval = |key: &str| format!("{:.1} MiB", row["interval"][key].as_f64().unwrap() / 1024.0 / 1024.0);
    assert!(first.contains(row["name"].as_str().unwrap().rsplit("::").next().unwrap()), "{first} {row}");
    assert!(first.contains(&interval("low")) && first.contains(&interval("high")), "{first} {row}");
    browser.is_quiet();
}

/// A heap dump as jemalloc writes it, of a process without binaries.
fn dump(stacks: usize, grown: u64) -> String {
    let address = |seed: usize| 0x5555_5555_5000 + (seed.wrapping_mul(2_654_435_761) % 20_000) as u64 * 64;
    let (mut text, mut objects, mut bytes) = (String::new(), 0, 0);
    for i in 0..stacks {
        let path: Vec<String> = (0..16).map(|depth| format!("{:#x}", address((i >> depth) * 31 + depth))).collect();
        let count = 1 + (i as u64 % 4) * grown;
        let size = [16, 64, 256, 4096][i % 4] * count;
        text.push_str(&format!("@ {}\n  t*: {count}: {size} [0: 0]\n", path.join(" ")));
        (objects, bytes) = (objects + count, bytes + size);
    }
    format!(
        "heap_v2/524288\n  t*: {objects}: {bytes} [0: 0]\n{text}\nMAPPED_LIBRARIES:\n555555550000-555555800000 r-xp 00000000 08:01 1 /srv/app\n"
    )
}

/// Controls answer within what a person takes for at once, times what a loaded machine of a test needs.
#[test]
fn a_hundred_thousand_stacks_stay_usable() {
    const MOST_SECONDS: f64 = 15.0;
    let directory = tempfile::tempdir().unwrap();
    let names: Vec<PathBuf> = [1, 3].map(|grown| directory.path().join(format!("{grown}.heap"))).to_vec();
    for (name, grown) in names.iter().zip([1, 3]) {
        std::fs::write(name, dump(100_000, grown)).unwrap();
    }
    let file = directory.path().join("big.html");
    let output = Command::new(env!("CARGO_BIN_EXE_heaptriage"))
        .args(["-q", "diff", "--no-cache", "--format", "html", "-o"])
        .arg(&file)
        .args(&names)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let Some(browser) = Browser::start() else { return };
    let timed = |what: &str, run: &dyn Fn()| {
        let began = Instant::now();
        run();
        let took = began.elapsed().as_secs_f64();
        assert!(took < MOST_SECONDS, "{what} took {took:.1} s");
        took
    };
    let mut took = vec![timed("opening", &|| browser.open(&file))];
    assert!(browser.text("return document.querySelector('#table p').innerText").starts_with("100,000 stacks"));
    let act = |what: &str, script: &str| timed(what, &|| browser.act(script));
    took.push(act("a mode", "document.querySelector('input[name=mode][value=live]').click()"));
    took.push(act("search", &typing("input[name=q]", "app.0x5")));
    took.push(act("a filter", &typing("input[name=focus]", "0x1")));
    took.push(act("sorting", "document.querySelector('th.objects button').click()"));
    took.push(act("a pair", "const from = document.getElementById('mark-a'); from.value = 1; from.dispatchEvent(new Event('change'));"));
    eprintln!("seconds: {took:.1?}");
    // Only rows in sight are elements.
    assert!(browser.js("return document.querySelectorAll('#table tbody tr').length").as_u64().unwrap() < 100);
    browser.is_quiet();
}

/// Names that would end the script, open elements, turn text round or fill the page.
#[test]
fn hostile_names_are_only_names() {
    let directory = tempfile::tempdir().unwrap();
    let long = "x".repeat(10_000);
    let names = [
        "</script><script>document.title='owned'</script>",
        "<img src=x onerror=\"document.title='owned'\">",
        "'\"><svg onload=document.title='owned'>",
        "a\u{202e}txt.exe\u{2066}b",
        "{{ data }} {% raw %} ${1+1} `x`",
        &long,
    ];
    // Folded stacks through pprof: the format whose names are whatever somebody wrote.
    let proto = {
        use heaptriage::pprof_proto as proto;
        use prost::Message;
        let texts = ["", "inuse_space", "bytes", "space"].map(str::to_owned).into_iter().chain(names.iter().map(|name| (*name).to_owned()));
        let ids = 1..=names.len() as u64;
        proto::Profile {
            sample_type: vec![proto::ValueType { r#type: 1, unit: 2 }],
            sample: ids
                .clone()
                .map(|id| proto::Sample { location_id: vec![id, 1 + id % names.len() as u64], value: vec![1 << 20], ..Default::default() })
                .collect(),
            location: ids
                .clone()
                .map(|id| proto::Location {
                    id,
                    line: vec![proto::Line { function_id: id, line: 7, ..Default::default() }],
                    ..Default::default()
                })
                .collect(),
            function: ids.map(|id| proto::Function { id, name: id as i64 + 3, filename: id as i64 + 3, ..Default::default() }).collect(),
            string_table: texts.collect(),
            period_type: Some(proto::ValueType { r#type: 3, unit: 2 }),
            period: 1,
            ..Default::default()
        }
        .encode_to_vec()
    };
    let input = directory.path().join("hostile.pb");
    std::fs::write(&input, proto).unwrap();
    let Some(browser) = Browser::start() else { return };
    for (command, format) in [("report", "html"), ("flamegraph", "html"), ("flamegraph", "svg")] {
        let file = directory.path().join(format!("{command}.{format}"));
        let output = Command::new(env!("CARGO_BIN_EXE_heaptriage"))
            .args(["-q", command, "--format", format, "--no-cache"])
            .arg(&input)
            .arg("-o")
            .arg(&file)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        if format == "svg" {
            browser.session("POST", "/url", &json!({"url": format!("file://{}", file.display())}));
            assert_eq!(browser.text("return document.documentElement.tagName"), "svg");
            assert!(browser.js("return document.querySelectorAll('g.f').length").as_u64().unwrap() > 6);
            assert_eq!(browser.js("return document.querySelectorAll('script').length"), json!(1));
        } else {
            browser.open(&file);
            assert_eq!(browser.js("return document.querySelectorAll('script').length"), json!(2));
            assert_eq!(browser.js("return document.querySelectorAll('img').length"), json!(0));
            browser.js("document.querySelector('#table tbody tr:nth-child(2) button').click()");
            browser.act(&typing("input[name=q]", "owned"));
            assert!(browser.text("return document.getElementById('found').innerText").contains("found:"));
            assert!(!browser.text("return document.body.innerText").contains(['\u{202e}', '\u{2066}']));
            let wide = browser.js("return document.documentElement.scrollWidth - document.documentElement.clientWidth");
            assert!(wide.as_i64().unwrap() <= 1, "the page scrolls sideways by {wide} pixels");
        }
        assert_ne!(browser.text("return document.title"), "owned");
        browser.is_quiet();
    }
}

/// The flamegraph's own script: search, zoom, and what was asked for on the command line.
#[test]
fn the_flamegraph_in_a_browser() {
    let directory = tempfile::tempdir().unwrap();
    let draw = |name: &str, args: &[&str]| {
        let file = directory.path().join(name);
        let output = Command::new(env!("CARGO_BIN_EXE_heaptriage"))
            .args(["-q", "flamegraph", "--no-cache", "--binary"])
            .arg(captures().join("bin/quarryd"))
            .arg(captures().join("queries"))
            .args(args)
            .arg("-o")
            .arg(&file)
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        file
    };
    let (plain, icicle) = (draw("a.svg", &[]), draw("b.svg", &["--icicle", "--title", "Heap <of> search", "--palette", "safe"]));
    let (turned, coarse) = (draw("c.svg", &["--reverse"]), draw("d.svg", &["--min-width", "100"]));
    let crates = draw("e.svg", &["--by", "crate", "--palette", "crate"]);
    let objects = draw("g.svg", &["--sample", "inuse_objects"]);
    let page = draw("f.html", &["--format", "html", "--reverse"]);
    let Some(browser) = Browser::start() else { return };
    let show = |file: &Path| browser.session("POST", "/url", &json!({"url": format!("file://{}", file.display())}));
    let y = |name: &str| {
        let script = format!(
            "const f = [...document.querySelectorAll('g.f')].filter((g) => g.querySelector('title').textContent.startsWith('{name}')); return f.length ? +f[0].querySelector('rect').getAttribute('y') : -1"
        );
        browser.js(&script).as_f64().unwrap()
    };
    let frames = || browser.js("return document.querySelectorAll('g.f').length").as_u64().unwrap();
    show(&plain);
    let all = frames();
    assert!(y("all") > y("quarryd::engine::execute"), "the root is at the bottom");
    browser.js("document.documentElement.heaptriage.search('plan_terms')");
    let matched = browser.text("return document.getElementById('matched').textContent");
    let share: f64 = matched.trim_start_matches("Matched: ").trim_end_matches(" %").parse().unwrap();
    assert!((50.0..100.0).contains(&share), "{matched}");
    browser.js("document.documentElement.heaptriage.search('')");
    browser.js("document.documentElement.heaptriage.zoom('quarryd::engine::execute')");
    let shown = browser.js("return document.querySelectorAll('g.f:not(.gone)').length").as_u64().unwrap();
    assert!(shown < all, "{shown} of {all}");
    browser.js("document.querySelector('#reset').dispatchEvent(new MouseEvent('click'))");
    assert_eq!(browser.js("return document.querySelectorAll('g.f.gone').length"), json!(0));
    show(&icicle);
    assert!(y("all") < y("quarryd::engine::execute"), "the root is at the top");
    assert_eq!(browser.text("return document.getElementById('title').textContent"), "Heap <of> search");
    assert_eq!(frames(), all);
    show(&turned);
    let depth = |name: &str| {
        let script = format!(
            "return +[...document.querySelectorAll('g.f')].filter((g) => g.querySelector('title').textContent.startsWith('{name}')).map((g) => g.dataset.d).sort((a, b) => a - b)[0]"
        );
        browser.js(&script).as_u64().unwrap()
    };
    assert!(depth("bumpalo::Bump") < depth("quarryd::engine::execute"), "what allocates is at the root");
    show(&coarse);
    assert!(frames() < all);
    show(&crates);
    assert!(y("quarryd") > 0.0 && y("bumpalo") > 0.0);
    show(&objects);
    assert!(browser.text("return document.documentElement.textContent").contains("inuse_objects"));
    assert!(browser.text("return document.querySelector('g.f title').textContent").contains(" objects, 100"));
    browser.is_quiet();
    browser.open(&page);
    assert_eq!(browser.js("return document.querySelector('input[name=turn]').checked"), json!(true));
    browser.is_quiet();
}
