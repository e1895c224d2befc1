//! Facts read from an ELF or DWARF file, independent of any dump.
