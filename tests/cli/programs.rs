//! Builds the programs of `fixtures/programs`, runs them, and symbolizes the profiles that they print of themselves.

use heaptriage::address::ReturnAddress;
use heaptriage::analysis::owner::{Owner, Owners};
use heaptriage::input::heap::{HeapOptions, parse};
use heaptriage::model::frame::{ModuleSymbols, Symbols};
use heaptriage::model::heap::HeapProfile;
use heaptriage::model::ingest;
use heaptriage::model::stack::{AddressId, StackTable};
use heaptriage::origin::Notice;
use heaptriage::symbolize::{BinaryArg, SymbolOptions, symbolize};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory to build in, removed at the end.
pub struct Workshop {
    dir: tempfile::TempDir,
}

impl Workshop {
    pub fn new() -> Self {
        Workshop { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a tool in the directory; panics with what it said when it fails.
    #[track_caller]
    pub fn run(&self, tool: &str, arguments: &[&str]) {
        let output =
            Command::new(tool).args(arguments).current_dir(self.dir.path()).output().unwrap_or_else(|error| panic!("{tool}: {error}"));
        assert!(output.status.success(), "{tool} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Compiles a C source of the fixtures.
    #[track_caller]
    pub fn cc(&self, source: &str, output: &str, flags: &[&str]) {
        let source = program(source);
        self.run("cc", &[&["-g", "-O1", source.to_str().unwrap(), "-o", output], flags].concat());
    }

    /// Compiles a Rust source of the fixtures.
    #[track_caller]
    pub fn rustc(&self, source: &str, output: &str, flags: &[&str]) {
        let source = program(source);
        self.run("rustc", &[&["--edition", "2024", source.to_str().unwrap(), "-o", output], flags].concat());
    }

    /// Runs a built program and reads the profile that it prints.
    #[track_caller]
    pub fn profile(&self, program: &str) -> Profile {
        self.profile_with(program, &[])
    }

    #[track_caller]
    pub fn profile_with(&self, program: &str, environment: &[(&str, &str)]) -> Profile {
        let path = self.path(program);
        let mut command = Command::new(&path);
        command.envs(environment.iter().copied()).env("LD_LIBRARY_PATH", self.dir.path()).current_dir(self.dir.path());
        let Output { status, stdout, stderr } = command.output().unwrap();
        assert!(status.success(), "{program}: {}", String::from_utf8_lossy(&stderr));
        let mut stacks = StackTable::new();
        let parsed = parse(&stdout, HeapOptions::default()).unwrap();
        let heap = ingest::heap(parsed.value, &mut stacks);
        Profile { stacks, heap }
    }

    /// Options that look nowhere but where the test says.
    pub fn nowhere(&self) -> SymbolOptions {
        SymbolOptions { debug_dirs: Vec::new(), sysroot: self.path("no such root"), ..SymbolOptions::default() }
    }

    /// The same with a binary given by path.
    pub fn with_binary(&self, name: &str) -> SymbolOptions {
        SymbolOptions { binaries: vec![BinaryArg { module: None, path: self.path(name) }], ..self.nowhere() }
    }
}

/// A source among the fixtures.
pub fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/programs").join(name);
    assert!(path.exists(), "{} is missing", path.display());
    path
}

/// Whether a tool is there. Its absence is a failure where `HEAPTRIAGE_REQUIRE_TOOLS` is set; elsewhere the test says that it did not run.
pub fn has_tool(tool: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|paths| std::env::split_paths(&paths).any(|dir| dir.join(tool).is_file()));
    if !found {
        assert!(std::env::var_os("HEAPTRIAGE_REQUIRE_TOOLS").is_none(), "{tool} is not installed");
        eprintln!("did not run: {tool} is not installed");
    }
    found
}

/// A profile that a program printed of itself.
pub struct Profile {
    pub stacks: StackTable,
    pub heap: HeapProfile,
}

impl Profile {
    pub fn named(&self, options: &SymbolOptions) -> Named<'_> {
        let (symbols, notices) = symbolize(&self.stacks, &self.heap.mappings, options);
        Named { profile: self, symbols, notices }
    }
}

/// A profile with names.
pub struct Named<'a> {
    pub profile: &'a Profile,
    pub symbols: Symbols,
    pub notices: Vec<Notice>,
}

impl Named<'_> {
    /// `function file:line` of every frame of the first stack that is in a module, innermost first; `inlined` marks what has no call of its own.
    pub fn frames(&self, module: &str) -> Vec<String> {
        let stack = self.profile.stacks.ids().next().unwrap();
        let frames = self.profile.stacks.stack(stack).flat_map(|address| self.symbols.frames(address));
        let frames = frames.filter(|frame| self.symbols.module(frame) == Some(module));
        let text = |frame| {
            let frame: &heaptriage::model::frame::Frame = frame;
            let file = self.symbols.file(frame).map(|file| file.rsplit('/').next().unwrap().to_owned());
            let line = frame.line.map(|line| format!(":{line}")).unwrap_or_default();
            format!("{}{}{}{line}", self.symbols.function(frame), if frame.inlined { " inlined " } else { " " }, file.unwrap_or_default())
                .trim_end()
                .to_owned()
        };
        frames.map(text).collect()
    }

    #[track_caller]
    pub fn module(&self, name: &str) -> &ModuleSymbols {
        self.symbols
            .modules
            .iter()
            .find(|module| module.name == name)
            .unwrap_or_else(|| panic!("no module {name}: {:?}", self.symbols.modules))
    }

    /// The owner of the sample whose size is its number.
    #[track_caller]
    pub fn owner(&self, number: u64) -> Owner<'_> {
        let sample =
            self.profile.heap.samples.iter().find(|sample| sample.live.bytes == number).unwrap_or_else(|| panic!("no sample {number}"));
        Owners::new(&self.symbols).of(self.profile.stacks.stack(sample.stack)).unwrap()
    }

    /// What the first notice about a path that ends in `file` says.
    pub fn notice(&self, file: &str) -> Option<&str> {
        self.notices.iter().find(|notice| notice.input.ends_with(file)).map(|notice| notice.message.as_str())
    }
}

/// A profile with one more stack of one address, for places that a program cannot call from.
pub fn with_address(profile: Profile, address: u64) -> (Profile, AddressId) {
    let Profile { mut stacks, heap } = profile;
    let id = stacks.intern_address(ReturnAddress::new(address));
    (Profile { stacks, heap }, id)
}
