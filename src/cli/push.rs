//! `push`: every dump of a capture to Pyroscope or Parca.

use super::args::TimeArgs;
use super::open::{self, Named};
use super::symbols::SymbolArgs;
use super::{Context, Outcome, export};
use crate::analysis::filter::{Filter, Measure};
use crate::capture::OpenOptions;
use crate::fleet::reduce::build_id;
use crate::origin::printable;
use crate::report::pprof;
use crate::report::push::{self, Labels, Request, SERVICE, Server, is_label_name, label_value};
use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use std::io::Write;
use std::path::PathBuf;

/// Send every dump of a capture to Pyroscope or Parca, as pprof over HTTP.
///
/// Each profile is a series with the labels service_name, instance and build_id, and stands at the time of its dump.
/// The servers refuse profiles that are older than they are set to take (Pyroscope: an hour, unless
/// `validation.reject-older-than` says otherwise).
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  heaptriage push capture/ --to http://localhost:4040 --service indexer
  heaptriage push a.heap --to http://localhost:7070 --server parca --service indexer --label zone=eu")]
pub struct PushArgs {
    /// A capture directory, dumps, a pprof profile, or `-`.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Address of the server; a path in it is kept.
    #[arg(long, value_name = "URL")]
    to: String,
    /// What the server is.
    #[arg(long, value_name = "KIND", default_value = "pyroscope")]
    server: ServerKind,
    /// Name of the service. By default that of the process.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Which of the service's processes it is. By default NAME-PID.
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
    /// One more label. Repeatable.
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// Tenant, sent as X-Scope-OrgID.
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// A file with a token, sent as `Authorization: Bearer`.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Tell threads apart, where the dumps do.
    #[arg(long)]
    threads: bool,
    /// Leave out directories of paths, and thread names.
    #[arg(long)]
    redact: bool,
    #[command(flatten)]
    time: TimeArgs,
    #[command(flatten)]
    symbols: SymbolArgs,
}

/// What takes the profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ServerKind {
    /// Grafana Pyroscope: /push.v1.PusherService/Push.
    Pyroscope,
    /// Older Pyroscope, and what is compatible with it: /ingest.
    Ingest,
    /// Parca: /profiles/writeraw.
    Parca,
}

/// Runs `push`.
///
/// # Errors
/// Bad arguments, nothing usable in the inputs, or a server that cannot be reached or refuses.
pub fn run(args: &PushArgs, context: &Context) -> anyhow::Result<Outcome> {
    let client = Client::new(args)?;
    let mut input = open::named(&args.inputs, &args.symbols, &OpenOptions { threads: args.threads, ..OpenOptions::default() })?;
    args.time.apply(&mut input.timeline)?;
    context.notices(&input.notices);
    let labels = labels(args, &input)?;
    let server = match args.server {
        ServerKind::Pyroscope => Server::Pyroscope,
        ServerKind::Ingest => Server::Ingest,
        ServerKind::Parca => Server::Parca,
    };
    let dumps: Vec<_> = input.timeline.snapshots.iter().filter_map(|s| Some((s, s.heap.as_ref()?))).collect();
    if dumps.is_empty() {
        bail!("no heap dump among the inputs: there is nothing to push");
    }
    let mut sent = 0;
    for (snapshot, heap) in &dumps {
        let profile = export::profile(&input, (snapshot, heap), (&Filter::default(), Measure::InuseSpace), args.redact)?;
        let mut bytes = Vec::new();
        pprof::write(&profile, Measure::InuseSpace, &mut bytes)?;
        let request = push::request(server, &labels, &bytes, profile.unix_ms);
        client.send(&request).with_context(|| {
            let before = if sent == 0 { "nothing was sent".to_owned() } else { format!("{sent} before it were sent") };
            format!("the profile of {} was not taken ({before})", printable(&snapshot.name))
        })?;
        sent += 1;
    }
    let noun = if sent == 1 { "profile" } else { "profiles" };
    let shown: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={}", printable(value))).collect();
    writeln!(std::io::stdout(), "{sent} {noun} sent to {}: {}", printable(&args.to), shown.join(" "))?;
    Ok(Outcome::Done)
}

/// What every series is labeled with.
fn labels(args: &PushArgs, input: &Named) -> anyhow::Result<Labels> {
    let process = &input.timeline.process;
    let Some(service) = args.service.as_deref().or(process.name.as_deref().filter(|_| !args.redact)) else {
        bail!("the inputs do not say which program it was\n  help: name the service with --service");
    };
    let mut labels = Labels::new();
    for label in &args.labels {
        let (name, value) = label.split_once('=').with_context(|| format!("--label takes NAME=VALUE, found `{}`", printable(label)))?;
        if !is_label_name(name) {
            bail!("`{}` is not a label's name: it takes letters, digits and _", printable(name));
        }
        labels.insert(name.to_owned(), label_value(value));
    }
    let instance = args.instance.clone().or_else(|| Some(format!("{service}-{}", process.pid?)));
    labels.insert(SERVICE.to_owned(), label_value(service));
    labels.extend(instance.map(|instance| ("instance".to_owned(), label_value(&instance))));
    labels.extend(build_id(process, &input.symbols).map(|id| ("build_id".to_owned(), id)));
    Ok(labels)
}

/// Sends requests.
#[cfg(feature = "net")]
#[derive(Debug)]
struct Client {
    agent: ureq::Agent,
    to: String,
    headers: Vec<(&'static str, String)>,
}

#[cfg(feature = "net")]
mod client {
    use super::*;
    use std::time::Duration;
    use ureq::tls::{RootCerts, TlsConfig};

    /// Attempts for each request: a server that is being restarted, or asks to wait, is asked again.
    const ATTEMPTS: u32 = 4;
    /// Wait before the second attempt; twice as long before each further one.
    const WAIT: Duration = Duration::from_millis(250);
    /// One request, name lookup and upload included.
    const LONGEST: Duration = Duration::from_secs(30);
    /// Most of a server's words that are shown.
    const MOST_WORDS: u64 = 2_000;

    impl Client {
        pub(super) fn new(args: &PushArgs) -> anyhow::Result<Client> {
            let to = args.to.trim_end_matches('/');
            if !to.starts_with("http://") && !to.starts_with("https://") {
                bail!("--to takes an address such as http://localhost:4040, found `{}`", printable(&args.to));
            }
            let mut headers = Vec::new();
            headers.extend(args.tenant.clone().map(|tenant| ("X-Scope-OrgID", tenant)));
            if let Some(file) = &args.token_file {
                let token = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", printable(&file.to_string_lossy())))?;
                headers.push(("Authorization", format!("Bearer {}", token.trim())));
            }
            let roots = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
            let agent = ureq::Agent::config_builder()
                .timeout_global(Some(LONGEST))
                .http_status_as_error(false)
                .user_agent(concat!("heaptriage/", env!("CARGO_PKG_VERSION")))
                .tls_config(roots)
                .build()
                .into();
            Ok(Client { agent, to: to.to_owned(), headers })
        }

        /// Sends one request, and again where another attempt may help.
        pub(super) fn send(&self, request: &Request) -> anyhow::Result<()> {
            let mut wait = WAIT;
            for attempt in 1.. {
                let last = attempt == ATTEMPTS;
                match self.once(request) {
                    Ok((200..=299, _)) => return Ok(()),
                    Ok((429 | 502..=504, _)) if !last => {}
                    Ok((status, words)) => bail!("{}", refusal(&self.to, status, &words)),
                    Err(ureq::Error::Io(_) | ureq::Error::ConnectionFailed | ureq::Error::Timeout(_)) if !last => {}
                    Err(error) => return Err(error).with_context(|| format!("cannot reach {}", printable(&self.to))),
                }
                std::thread::sleep(wait);
                wait *= 2;
            }
            Ok(())
        }

        /// The status and the words of the answer.
        fn once(&self, request: &Request) -> Result<(u16, String), ureq::Error> {
            let mut post = self.agent.post(format!("{}{}", self.to, request.path)).header("Content-Type", request.content_type);
            for (name, value) in &self.headers {
                post = post.header(*name, value);
            }
            let mut response = post.send(&request.body[..])?;
            let status = response.status().as_u16();
            let words = response.body_mut().with_config().limit(MOST_WORDS).lossy_utf8(true).read_to_string().unwrap_or_default();
            Ok((status, words))
        }
    }

    fn refusal(to: &str, status: u16, words: &str) -> String {
        let words = printable(words.trim()).into_owned();
        let said = if words.is_empty() { String::new() } else { format!(": {words}") };
        let help = match status {
            401 | 403 => "\n  help: pass --token-file, or --tenant",
            404 | 405 => "\n  help: is it another kind of server? --server pyroscope, ingest or parca",
            413 => "\n  help: the server takes smaller profiles only: raise its limit, or sample more coarsely",
            _ => "",
        };
        format!("{} answered {status}{said}{help}", printable(to))
    }
}

/// There is none without the feature.
#[cfg(not(feature = "net"))]
#[derive(Debug)]
enum Client {}

#[cfg(not(feature = "net"))]
impl Client {
    /// Says what to do instead.
    fn new(args: &PushArgs) -> anyhow::Result<Client> {
        let to = printable(args.to.trim_end_matches('/'));
        bail!(
            "this build has no HTTP client\n  help: build it with `cargo install heaptriage --features net`, or send one profile with\n  \
             heaptriage convert INPUT --to pprof -o - | curl --data-binary @- '{to}/ingest?format=pprof&name=SERVICE'"
        )
    }

    fn send(&self, _: &Request) -> anyhow::Result<()> {
        match *self {}
    }
}
