//! What is sent to a server of continuous profiles: one request a snapshot, with a pprof profile in it.
//!
//! ```text
//! Pyroscope   POST /push.v1.PusherService/Push         {"series": [{"labels": [{"name": "service_name", "value": "indexer"}],
//!                                                       "samples": [{"ID": "UUID", "rawProfile": "base64 of pprof.gz"}]}]}
//! (ingest)    POST /ingest?name=indexer{...}&format=pprof&from=1763650000&until=1763650001     pprof.gz
//! Parca       POST /profiles/writeraw                  {"series": [{"labels": {"labels": [{"name": ..., "value": ...}]},
//!                                                       "samples": [{"rawProfile": "base64 of pprof.gz"}]}], "normalized": false}
//! ```
//!
//! From grafana/pyroscope `api/push/v1/push.proto` and `pkg/ingester/pyroscope`, parca-dev/parca
//! `proto/parca/profilestore/v1alpha1/profilestore.proto`. The time of a profile is the one inside of it.

use super::base64;
use super::sha256::sha256;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Which interface is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// Pyroscope, its push interface.
    Pyroscope,
    /// Pyroscope's older `/ingest`, which its predecessors and agents have too.
    Ingest,
    /// Parca.
    Parca,
}

/// A request body with its path below the server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Path and query.
    pub path: String,
    /// Value of `Content-Type`.
    pub content_type: &'static str,
    /// What is sent.
    pub body: Vec<u8>,
}

/// Labels of a series by name.
pub type Labels = BTreeMap<String, String>;

/// The label that both servers take for the name of a profile; its types stand in the profile.
const NAME: &str = "__name__";
/// A heap profile's, as the servers' own agents call it.
const MEMORY: &str = "memory";
/// The label that names a service.
pub const SERVICE: &str = "service_name";

/// The request that sends one profile (pprof, gzip) taken at a time, where that is known.
pub fn request(server: Server, labels: &Labels, pprof: &[u8], unix_ms: Option<i64>) -> Request {
    let mut all = labels.clone();
    all.insert(NAME.to_owned(), MEMORY.to_owned());
    let list = || all.iter().map(|(name, value)| json!({"name": name, "value": value})).collect::<Vec<Value>>();
    let json =
        |path: &str, body: Value| Request { path: path.to_owned(), content_type: "application/json", body: body.to_string().into_bytes() };
    match server {
        Server::Pyroscope => json(
            "/push.v1.PusherService/Push",
            json!({"series": [{"labels": list(), "samples": [{"ID": id(&all, pprof), "rawProfile": base64::encode(pprof)}]}]}),
        ),
        Server::Parca => json(
            "/profiles/writeraw",
            json!({"series": [{"labels": {"labels": list()}, "samples": [{"rawProfile": base64::encode(pprof)}]}], "normalized": false}),
        ),
        Server::Ingest => {
            let service = labels.get(SERVICE).map_or("", String::as_str);
            let others: Vec<String> =
                labels.iter().filter(|(key, _)| *key != SERVICE).map(|(key, value)| format!("{key}={value}")).collect();
            let mut path = format!("/ingest?name={}&format=pprof", percent(&format!("{service}{{{}}}", others.join(","))));
            if let Some(ms) = unix_ms {
                let seconds = ms.div_euclid(1000);
                path.push_str(&format!("&from={seconds}&until={}", seconds.saturating_add(1)));
            }
            Request { path, content_type: "application/octet-stream", body: pprof.to_vec() }
        }
    }
}

/// A UUID (RFC 9562, version 8) from labels and content: what is sent twice is the same profile.
fn id(labels: &Labels, pprof: &[u8]) -> String {
    let mut content = serde_json::to_vec(labels).unwrap_or_default();
    content.extend_from_slice(pprof);
    let digest = sha256(&content);
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// RFC 3986: everything but unreserved characters.
fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Whether a server takes it as the name of a label: Prometheus' grammar.
pub fn is_label_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with("__")
}

/// A value that every server takes: `/ingest` reads labels out of a list with `,`, `=` and braces.
pub fn label_value(value: &str) -> String {
    value.chars().map(|c| if c.is_control() || matches!(c, ',' | '{' | '}' | '=' | '"') { '_' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        [(SERVICE, "indexer"), ("instance", "a:1")].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn pyroscope_gets_one_series_with_a_lasting_id() {
        let one = request(Server::Pyroscope, &labels(), b"profile", Some(1));
        assert_eq!(one, request(Server::Pyroscope, &labels(), b"profile", Some(1)));
        assert_eq!(one.path, "/push.v1.PusherService/Push");
        let body: Value = serde_json::from_slice(&one.body).unwrap();
        let series = &body["series"][0];
        assert_eq!(series["labels"][0], json!({"name": "__name__", "value": "memory"}));
        assert_eq!(series["labels"][2], json!({"name": "service_name", "value": "indexer"}));
        assert_eq!(series["samples"][0]["rawProfile"], "cHJvZmlsZQ==");
        let id = series["samples"][0]["ID"].as_str().unwrap();
        assert_eq!((id.len(), &id[14..15]), (36, "8"));
        let other = request(Server::Pyroscope, &labels(), b"another", Some(1));
        assert!(!String::from_utf8(other.body).unwrap().contains(id));
    }

    #[test]
    fn parca_nests_its_labels() {
        let body: Value = serde_json::from_slice(&request(Server::Parca, &labels(), b"x", None).body).unwrap();
        assert_eq!(body["series"][0]["labels"]["labels"][1]["name"], "instance");
    }

    #[test]
    fn ingest_has_everything_in_its_query() {
        let request = request(Server::Ingest, &labels(), b"x", Some(1_763_650_000_123));
        assert_eq!(request.path, "/ingest?name=indexer%7Binstance%3Da%3A1%7D&format=pprof&from=1763650000&until=1763650001");
        assert_eq!(request.body, b"x");
    }

    #[test]
    fn labels_are_what_a_server_takes() {
        assert!(is_label_name("region_1") && is_label_name("_x"));
        assert!(!is_label_name("1x") && !is_label_name("a-b") && !is_label_name("") && !is_label_name("__name__"));
        assert_eq!(label_value("a{b=\"c\"},\n"), "a_b__c____");
    }
}
