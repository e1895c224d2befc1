//! Raw records to the model: the only file here that imports `input`.

use crate::input::maps::MapsLine;
use crate::model::mapping::Mapping;

/// A maps line as a mapping of its own.
pub fn mapping(line: &MapsLine<'_>) -> Mapping {
    Mapping { range: line.range, perms: line.perms, offset: line.offset, device: line.device, inode: line.inode, name: line.name.into() }
}
