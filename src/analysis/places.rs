//! What each stack is shown as: the places of its visible frames, and the one that owns it.
//!
//! A *place* is a function at a line of a module. Places of two processes, or of two builds, share one
//! table ([`Places`]), so that their views can be compared; [`Shown`] applies a filter to one side.
//!
//! ```text
//! frames, innermost first   malloc  grow_one  parse  load  main  __libc_start_main
//! hidden by role            ^^^^^^  ^^^^^^^^                     ^^^^^^^^^^^^^^^^^
//! places                                      parse  load  main
//! ```

use crate::analysis::filter::{Filter, matches};
use crate::analysis::owner::Owners;
use crate::model::frame::{Frame, NameId, Names, Role, Symbols, Unresolved};
use crate::model::name::{crate_of, crate_of_file, normalize};
use crate::model::stack::{AddressId, StackId, StackTable};
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

/// What a row of a view stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// A function.
    #[default]
    Function,
    /// A line of a function.
    Line,
    /// A source file.
    File,
    /// A crate (for C++: outermost namespace), else a module.
    Crate,
    /// A whole stack.
    Stack,
    /// An instruction.
    Address,
}

impl By {
    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            By::Function => "function",
            By::Line => "line",
            By::File => "file",
            By::Crate => "crate",
            By::Stack => "stack",
            By::Address => "address",
        }
    }
}

/// A function at a line of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Name of the function; for an unnamed one `module+0xoffset` or its address.
    pub function: NameId,
    /// Source file.
    pub file: Option<NameId>,
    /// Line in it.
    pub line: Option<u32>,
    /// Crate of the function, where its name or file tell.
    pub krate: Option<NameId>,
    /// Base name of the module.
    pub module: Option<NameId>,
    /// Address in the module's own terms, else in the process; only where places are instructions ([`By::Address`]).
    pub address: Option<u64>,
    /// Whose code it is.
    pub role: Role,
    /// Why there is no name.
    pub unresolved: Option<Unresolved>,
}

/// Index of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlaceId(pub u32);

impl PlaceId {
    /// Position in tables by place.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Whose names are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameMatch {
    /// As they are.
    #[default]
    Exact,
    /// Without what changes from build to build: hash suffixes, disambiguators, closures' numbers.
    Normalized,
}

/// Distinct places, over any number of processes.
#[derive(Clone, Debug)]
pub struct Places {
    by: By,
    match_names: NameMatch,
    names: Names,
    places: Vec<Place>,
    ids: HashMap<Place, u32, FxBuildHasher>,
}

impl Places {
    /// An empty table, but for what stands in place of no frames.
    pub fn new(by: By, match_names: NameMatch) -> Self {
        let mut places = Places { by, match_names, names: Names::default(), places: Vec::new(), ids: HashMap::default() };
        for name in ["[no stack]", "[hidden by --show or --hide]", "[truncated: deeper than 128 frames]"] {
            let function = places.names.intern(name);
            places.add(Place {
                function,
                file: None,
                line: None,
                krate: None,
                module: None,
                address: None,
                role: Role::Runtime,
                unresolved: None,
            });
        }
        places
    }

    /// Stands for a stack without frames.
    pub const NO_STACK: PlaceId = PlaceId(0);
    /// Stands for a stack whose frames are all hidden by options.
    pub const ALL_HIDDEN: PlaceId = PlaceId(1);
    /// Stands for the missing outer frames of a stack that was cut when it was recorded.
    pub const TRUNCATED: PlaceId = PlaceId(2);

    /// What rows stand for.
    pub fn by(&self) -> By {
        self.by
    }

    /// How names are compared.
    pub fn match_names(&self) -> NameMatch {
        self.match_names
    }

    /// A place.
    pub fn get(&self, id: PlaceId) -> &Place {
        &self.places[id.index()]
    }

    /// A text of a place.
    pub fn text(&self, id: NameId) -> &str {
        self.names.get(id)
    }

    /// The function of a place.
    pub fn function(&self, id: PlaceId) -> &str {
        self.text(self.get(id).function)
    }

    /// The number of places.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Never: see [`Places::new`].
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// What a row by anything but stacks is called.
    pub fn label(&self, id: PlaceId) -> &str {
        let place = self.get(id);
        let name = match self.by {
            By::File => place.file.or(place.module),
            By::Crate => place.krate.or(place.module),
            _ => None,
        };
        self.text(name.unwrap_or(place.function))
    }

    fn add(&mut self, place: Place) -> PlaceId {
        let next = self.places.len() as u32;
        let id = *self.ids.entry(place).or_insert(next);
        if id == next {
            self.places.push(place);
        }
        PlaceId(id)
    }

    /// For each place, the number of its row: places that a row of [`Places::by`] does not tell apart share one.
    pub fn rows(&self) -> Rows {
        let mut keys: HashMap<RowKey, u32, FxBuildHasher> = HashMap::default();
        let mut first = Vec::new();
        let of = self.places.iter().zip(0..).map(|(place, index)| {
            let key = match self.by {
                By::Function | By::Stack => (place.function, None, None, None),
                By::Line => (place.function, place.file, place.line, None),
                By::File => (place.file.or(place.module).unwrap_or(place.function), None, None, None),
                By::Crate => (place.krate.or(place.module).unwrap_or(place.function), None, None, None),
                By::Address => (place.module.unwrap_or(place.function), None, None, place.address),
            };
            *keys.entry(key).or_insert_with(|| {
                first.push(PlaceId(index));
                first.len() as u32 - 1
            })
        });
        let of: Vec<u32> = of.collect();
        let mut places = vec![0u32; first.len()];
        of.iter().for_each(|&row| places[row as usize] += 1);
        Rows { of, first, places }
    }
}

/// What places of one row have in common: names, file, line, address, as far as the row tells them apart.
type RowKey = (NameId, Option<NameId>, Option<u32>, Option<u64>);

/// Rows of places.
#[derive(Clone, Debug)]
pub struct Rows {
    of: Vec<u32>,
    first: Vec<PlaceId>,
    places: Vec<u32>,
}

impl Rows {
    /// The row of a place.
    pub fn of(&self, place: PlaceId) -> usize {
        self.of[place.index()] as usize
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.first.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Whether no other place is in the row of this one: its line is then that of the row.
    pub fn is_alone(&self, place: PlaceId) -> bool {
        self.places[self.of(place)] == 1
    }

    /// A place of a row: the first that was seen.
    pub fn first(&self, row: usize) -> PlaceId {
        self.first[row]
    }
}

/// Distinct functions that are not shown, by whose they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    /// Of allocators.
    pub allocator: usize,
    /// Of containers and the language's library.
    pub library: usize,
    /// Of what starts programs and threads.
    pub runtime: usize,
    /// By `--hide` and `--show`.
    pub by_options: usize,
}

/// One visible or hidden frame of an address.
#[derive(Clone, Copy, Debug)]
struct Slot {
    place: PlaceId,
    role: Role,
    named: bool,
    visible: bool,
    show_from: bool,
}

/// What the frames of an address mean for the filter.
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    focus: bool,
    ignore: bool,
    show_from: bool,
}

/// One side of a view: every address of a stack table as places, under a filter.
#[derive(Debug)]
pub struct Shown<'a> {
    stacks: &'a StackTable,
    filter: &'a Filter,
    owners: Owners<'a>,
    crate_filter: Option<&'a str>,
    slots: Vec<Slot>,
    ends: Vec<u32>,
    flags: Vec<Flags>,
    hidden: Hidden,
}

/// A stack as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// Visible places, innermost first; never empty.
    pub places: Vec<PlaceId>,
    /// Position of the owner among them: where flat counts go.
    pub owner: usize,
    /// The container operation that asked for the memory on the owner's behalf.
    pub container: Option<&'static str>,
}

/// jemalloc records at most so many frames of a stack by default (`PROF_BT_MAX`).
const DEEPEST_STACK: usize = 128;

impl<'a> Shown<'a> {
    /// Makes every address of `stacks` ready; their places go into `table`.
    pub fn new(table: &mut Places, stacks: &'a StackTable, symbols: &'a Symbols, filter: &'a Filter) -> Self {
        let mut build = Build { table, symbols, filter, names: HashMap::default(), judged: HashMap::default() };
        let mut shown = Shown {
            stacks,
            filter,
            owners: Owners::new(symbols),
            crate_filter: filter.crate_name.as_deref(),
            slots: Vec::new(),
            ends: Vec::with_capacity(stacks.addresses().len()),
            flags: Vec::with_capacity(stacks.addresses().len()),
            hidden: Hidden::default(),
        };
        for index in 0..stacks.addresses().len() {
            let address = AddressId(index as u32);
            let mut flags = Flags::default();
            let frames = symbols.frames(address);
            for frame in frames {
                let judged = build.judge(frame, &mut shown.hidden);
                let place = build.place(frame, judged.krate, stacks.address(address).get());
                flags.focus |= judged.flags.focus;
                flags.ignore |= judged.flags.ignore;
                flags.show_from |= judged.flags.show_from;
                shown.slots.push(Slot {
                    place,
                    role: frame.role,
                    named: frame.unresolved.is_none(),
                    visible: judged.visible,
                    show_from: judged.flags.show_from,
                });
            }
            shown.ends.push(shown.slots.len() as u32);
            shown.flags.push(flags);
        }
        shown
    }

    /// Distinct functions that are not shown.
    pub fn hidden(&self) -> Hidden {
        self.hidden
    }

    fn slots(&self, address: AddressId) -> &[Slot] {
        let index = address.index();
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.slots[start as usize..self.ends[index] as usize]
    }

    /// Puts a stack as it is shown into `walk`; `false` when the filter leaves it out.
    pub fn walk(&mut self, stack: StackId, table: &Places, walk: &mut Walk) -> bool {
        walk.places.clear();
        walk.owner = 0;
        walk.container = None;
        let addresses = self.stacks.stack(stack);
        if !self.keeps(addresses.clone()) {
            return false;
        }
        let Some(owner) = self.owners.of(addresses.clone()) else {
            walk.places.push(Places::NO_STACK);
            return self.crate_filter.is_none();
        };
        if self.crate_filter.is_some_and(|wanted| owner.krate != Some(wanted)) {
            return false;
        }
        // With every frame shown, the row is a frame of the allocator, which serves all operations.
        walk.container = owner.container.filter(|_| !self.filter.all_frames);
        let depth = owner.depth;
        let mut at = 0;
        let mut owned = None;
        let mut fallback = None;
        // Frames above the outermost match of --show-from are left out.
        let mut last_match = 0;
        for address in addresses.clone() {
            for slot in self.slots(address) {
                // Inside of the owner, only what other crates did on its behalf is worth a frame: named user
                // code there is a custom allocator's.
                let inside = at < depth && slot.role == Role::User && slot.named && !self.filter.all_frames;
                if slot.visible && !inside {
                    if at >= depth && owned.is_none() {
                        owned = Some(walk.places.len());
                    }
                    walk.places.push(slot.place);
                }
                if slot.show_from {
                    last_match = walk.places.len();
                }
                if at == depth {
                    fallback = Some(slot.place);
                }
                at += 1;
            }
        }
        if self.filter.show_from.is_some() {
            walk.places.truncate(last_match);
        }
        walk.owner = if self.filter.all_frames { 0 } else { owned.unwrap_or(walk.places.len().saturating_sub(1)) };
        if walk.places.is_empty() {
            let by_options = self.filter.hide.is_some() || self.filter.show.is_some() || self.filter.show_from.is_some();
            walk.places.push(if by_options { Places::ALL_HIDDEN } else { fallback.unwrap_or(Places::NO_STACK) });
        } else if addresses.len() == DEEPEST_STACK && self.filter.show_from.is_none() {
            walk.places.push(Places::TRUNCATED);
        }
        walk.owner = walk.owner.min(walk.places.len() - 1);
        debug_assert!(walk.places.iter().all(|place| place.index() < table.len()));
        true
    }

    /// Whether --focus, --ignore and --show-from keep a stack.
    fn keeps(&self, addresses: impl Iterator<Item = AddressId>) -> bool {
        let filter = self.filter;
        if filter.focus.is_none() && filter.ignore.is_none() && filter.show_from.is_none() {
            return true;
        }
        let mut any = Flags::default();
        for address in addresses {
            let flags = self.flags[address.index()];
            any.focus |= flags.focus;
            any.ignore |= flags.ignore;
            any.show_from |= flags.show_from;
        }
        (filter.focus.is_none() || any.focus) && !any.ignore && (filter.show_from.is_none() || any.show_from)
    }
}

/// What a frame of one function, file and module is, and means for the filter.
#[derive(Clone, Copy, Debug)]
struct Judged {
    visible: bool,
    flags: Flags,
    krate: Option<NameId>,
}

type FrameKey = (NameId, Option<NameId>, Option<u32>, Role);

struct Build<'t, 'a> {
    table: &'t mut Places,
    symbols: &'a Symbols,
    filter: &'a Filter,
    /// Names of the symbols in the table's names.
    names: HashMap<(NameId, bool), NameId, FxBuildHasher>,
    judged: HashMap<FrameKey, Judged, FxBuildHasher>,
}

impl Build<'_, '_> {
    /// Judges a frame once for each function, file and module.
    fn judge(&mut self, frame: &Frame, hidden: &mut Hidden) -> Judged {
        let (symbols, filter) = (self.symbols, self.filter);
        let key = (frame.function, frame.file, frame.module.map(|m| m.0), frame.role);
        let names = &mut self.table.names;
        *self.judged.entry(key).or_insert_with(|| {
            let is = |re: &Option<regex::Regex>| re.as_ref().is_some_and(|re| matches(re, frame, symbols));
            let by_role = frame.role.is_hidden() && !filter.all_frames;
            let by_options = is(&filter.hide) || (filter.show.is_some() && !is(&filter.show));
            match frame.role {
                _ if by_options => hidden.by_options += 1,
                Role::Allocator if by_role => hidden.allocator += 1,
                Role::Library if by_role => hidden.library += 1,
                Role::Runtime if by_role => hidden.runtime += 1,
                _ => {}
            }
            let flags = Flags { focus: is(&filter.focus), ignore: is(&filter.ignore), show_from: is(&filter.show_from) };
            let krate = match frame.unresolved {
                Some(_) => None,
                None => crate_of(symbols.function(frame)).or_else(|| symbols.file(frame).and_then(crate_of_file)),
            };
            Judged { visible: !by_role && !by_options, flags, krate: krate.map(|krate| names.intern(krate)) }
        })
    }

    fn place(&mut self, frame: &Frame, krate: Option<NameId>, address: u64) -> PlaceId {
        let normalized = self.table.match_names == NameMatch::Normalized;
        let symbols = self.symbols;
        let function = self.name(frame.function, normalized);
        let module = symbols.module(frame).map(|module| self.table.names.intern(module));
        let place = Place {
            function,
            file: frame.file.map(|file| self.name(file, false)),
            line: frame.line,
            krate,
            module,
            address: (self.table.by == By::Address).then(|| frame.svma.map_or(address, |svma| svma.get())),
            role: frame.role,
            unresolved: frame.unresolved,
        };
        self.table.add(place)
    }

    /// A name of the symbols in the table.
    fn name(&mut self, name: NameId, normalized: bool) -> NameId {
        let (names, symbols) = (&mut self.table.names, self.symbols);
        *self.names.entry((name, normalized)).or_insert_with(|| {
            let text = symbols.names.get(name);
            if normalized { names.intern(&normalize(text)) } else { names.intern(text) }
        })
    }
}
