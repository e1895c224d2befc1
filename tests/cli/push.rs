//! `push` against a server on this machine that keeps what it is sent, and decodes it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures")
}

fn push(to: &str, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_heaptriage"))
        .args(["-q", "push", "--no-cache", "--binary"])
        .arg(captures().join("bin/quarryd"))
        .arg(captures().join("queries"))
        .args(["--to", to])
        .args(args)
        .env_remove("http_proxy")
        .env_remove("HTTP_PROXY")
        .env_remove("ALL_PROXY")
        .env_remove("all_proxy")
        .output()
        .expect("the built program runs")
}

#[cfg(not(feature = "net"))]
#[test]
fn a_build_without_http_says_what_to_do_instead() {
    let output = push("http://127.0.0.1:1", &[]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("--features net") && text.contains("curl --data-binary @- 'http://127.0.0.1:1/ingest"), "{text}");
}

#[cfg(feature = "net")]
mod sent {
    use super::*;
    use heaptriage::pprof_proto as proto;
    use prost::Message;
    use serde_json::Value;
    use std::collections::BTreeMap;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    /// A request as it came: path with query, headers, body.
    #[derive(Clone, Debug)]
    struct Got {
        path: String,
        headers: BTreeMap<String, String>,
        body: Vec<u8>,
    }

    /// Answers every request with the next of `answers`, then with 200, and keeps it.
    struct Server {
        address: String,
        got: Arc<Mutex<Vec<Got>>>,
    }

    impl Server {
        fn start(answers: &[(u16, &'static str)]) -> Server {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = format!("http://{}", listener.local_addr().unwrap());
            let got = Arc::new(Mutex::new(Vec::new()));
            let (kept, mut answers) = (Arc::clone(&got), answers.to_vec());
            answers.reverse();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    let mut first = String::new();
                    if reader.read_line(&mut first).unwrap() == 0 {
                        continue;
                    }
                    let mut headers = BTreeMap::new();
                    loop {
                        let mut line = String::new();
                        reader.read_line(&mut line).unwrap();
                        let Some((name, value)) = line.trim().split_once(':') else { break };
                        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
                    }
                    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
                    let mut body = vec![0; length];
                    reader.read_exact(&mut body).unwrap();
                    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
                    assert!(first.starts_with("POST "), "{first}");
                    kept.lock().unwrap().push(Got { path, headers, body });
                    let (status, words) = answers.pop().unwrap_or((200, "{}"));
                    let length = words.len();
                    write!(stream, "HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{words}").unwrap();
                }
            });
            Server { address, got }
        }

        fn got(&self) -> Vec<Got> {
            self.got.lock().unwrap().clone()
        }
    }

    fn base64(text: &str) -> Vec<u8> {
        let digit = |c: u8| match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            c => panic!("{c} in base64"),
        };
        let digits: Vec<u8> = text.trim_end_matches('=').bytes().map(digit).collect();
        let mut bytes = Vec::new();
        for group in digits.chunks(4) {
            let bits = group.iter().fold(0u32, |bits, &d| bits << 6 | u32::from(d)) << (6 * (4 - group.len()));
            bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
        }
        bytes
    }

    /// The profile inside of a gzip: milliseconds, and the sum of inuse_space.
    fn profile(gzip: &[u8]) -> (i64, i64) {
        let mut bytes = Vec::new();
        flate2::read::MultiGzDecoder::new(gzip).read_to_end(&mut bytes).unwrap();
        let profile = proto::Profile::decode(&bytes[..]).unwrap();
        let kind = |id: i64| profile.string_table[id as usize].as_str();
        let at = profile.sample_type.iter().position(|t| kind(t.r#type) == "inuse_space").unwrap();
        assert!(profile.mapping.iter().any(|m| kind(m.build_id).len() == 40), "mappings have build-ids");
        (profile.time_nanos / 1_000_000, profile.sample.iter().map(|s| s.value[at]).sum())
    }

    /// Every dump of the capture with its total, from `convert`.
    fn expected() -> Vec<(i64, i64)> {
        let one = |snapshot: usize| {
            let output = Command::new(env!("CARGO_BIN_EXE_heaptriage"))
                .args(["-q", "convert", "--no-cache", "--to", "json", "--snapshot", &snapshot.to_string(), "-o", "-", "--binary"])
                .arg(captures().join("bin/quarryd"))
                .arg(captures().join("queries"))
                .output()
                .unwrap();
            let json: Value = serde_json::from_slice(&output.stdout).unwrap();
            (json["unix_ms"].as_i64().unwrap(), json["total"]["inuse_bytes"].as_i64().unwrap())
        };
        (1..=10).map(one).collect()
    }

    fn pairs(list: &Value) -> BTreeMap<String, String> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        list.as_array().unwrap().iter().map(|label| (text(&label["name"]), text(&label["value"]))).collect()
    }

    #[track_caller]
    fn is_labeled(labels: &BTreeMap<String, String>) {
        assert_eq!(labels["__name__"], "memory");
        assert_eq!(labels["service_name"], "search");
        assert!(labels["instance"].starts_with("search-"), "{labels:?}");
        assert_eq!(labels["region"], "eu");
        assert_eq!(labels["build_id"].len(), 40, "{labels:?}");
    }

    #[test]
    fn pyroscope_gets_every_dump_with_its_time_and_labels() {
        let server = Server::start(&[]);
        let output = push(&format!("{}/base/", server.address), &["--service", "search", "--label", "region=eu", "--tenant", "team"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.starts_with("10 profiles sent to http://127.0.0.1:") && said.contains("service_name=search"), "{said}");
        let mut profiles = Vec::new();
        for got in server.got() {
            assert_eq!((got.path.as_str(), got.headers["content-type"].as_str()), ("/base/push.v1.PusherService/Push", "application/json"));
            assert_eq!(got.headers["x-scope-orgid"], "team");
            let body: Value = serde_json::from_slice(&got.body).unwrap();
            is_labeled(&pairs(&body["series"][0]["labels"]));
            let sample = &body["series"][0]["samples"][0];
            assert_eq!(sample["ID"].as_str().unwrap().len(), 36);
            profiles.push(profile(&base64(sample["rawProfile"].as_str().unwrap())));
        }
        assert_eq!(profiles, expected());
    }

    #[test]
    fn parca_gets_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let token = directory.path().join("token");
        std::fs::write(&token, "s3cret\n").unwrap();
        let server = Server::start(&[]);
        let args = ["--server", "parca", "--service", "search", "--label", "region=eu", "--since", "-20s", "--token-file"];
        let args: Vec<&str> = args.into_iter().chain([token.to_str().unwrap()]).collect();
        let output = push(&server.address, &args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let all = expected();
        let got = server.got();
        assert!(got.len() > 1 && got.len() < all.len(), "{}", got.len());
        let mut profiles = Vec::new();
        for got in &got {
            assert_eq!((got.path.as_str(), got.headers["authorization"].as_str()), ("/profiles/writeraw", "Bearer s3cret"));
            let body: Value = serde_json::from_slice(&got.body).unwrap();
            is_labeled(&pairs(&body["series"][0]["labels"]["labels"]));
            profiles.push(profile(&base64(body["series"][0]["samples"][0]["rawProfile"].as_str().unwrap())));
        }
        assert_eq!(profiles, all[all.len() - got.len()..]);
    }

    #[test]
    fn the_older_interface_gets_the_profile_itself() {
        let server = Server::start(&[]);
        let output = push(&server.address, &["--server", "ingest", "--since", "-1s"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let got = server.got();
        let (ms, _) = profile(&got[0].body);
        assert!(got[0].path.starts_with("/ingest?name=quarryd%7Bbuild_id%3D"), "{}", got[0].path);
        assert!(got[0].path.contains(&format!("&format=pprof&from={}", ms / 1000)), "{}", got[0].path);
    }

    #[test]
    fn a_busy_server_is_asked_again_and_a_refusal_is_told() {
        let server = Server::start(&[(503, "later"), (429, "slow down")]);
        let output = push(&server.address, &["--since", "-1s"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(server.got().len(), 3);

        let server = Server::start(&[(200, "{}"), (400, "profile too old")]);
        let output = push(&server.address, &[]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("answered 400: profile too old") && text.contains("1 before it were sent"), "{text}");
        assert_eq!(server.got().len(), 2);

        let server = Server::start(&[(404, "")]);
        let text = push(&server.address, &["--server", "parca"]).stderr;
        assert!(String::from_utf8_lossy(&text).contains("--server pyroscope, ingest or parca"));
    }

    #[test]
    fn bad_arguments_are_refused_before_anything_is_read() {
        let text = |args: &[&str]| String::from_utf8(push("ftp://x", args).stderr).unwrap();
        assert!(text(&[]).contains("an address such as http://localhost:4040"));
        let server = Server::start(&[]);
        let text = |args: &[&str]| String::from_utf8(push(&server.address, args).stderr).unwrap();
        assert!(text(&["--label", "region"]).contains("--label takes NAME=VALUE"));
        assert!(text(&["--label", "a-b=c"]).contains("is not a label's name"));
        assert_eq!(server.got().len(), 0);
        // Nobody listens on a port that was just given back.
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let output = push(&format!("http://{free}"), &[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("cannot reach http://127.0.0.1:"));
    }
}
