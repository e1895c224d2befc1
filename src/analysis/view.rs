//! Frames and stacks as findings carry them: names resolved, hidden frames marked, nothing left to look up.

use crate::analysis::finding::FrameView;
use crate::model::frame::{Frame, Symbols};
use crate::model::role::crate_of;
use crate::model::stack::{AddressId, StackId, StackTable};

/// One frame.
pub fn frame(stacks: &StackTable, symbols: &Symbols, address: AddressId, frame: &Frame) -> FrameView {
    let function = symbols.function(frame);
    FrameView {
        function: function.to_owned(),
        file: symbols.file(frame).map(str::to_owned),
        line: frame.line,
        module: symbols.module(frame).map(str::to_owned),
        address: Some(stacks.address(address).get()),
        svma: frame.svma.map(|svma| svma.get()),
        inlined: frame.inlined,
        hidden: frame.role.is_hidden(),
        role: Some(frame.role),
        krate: crate_of(function).map(str::to_owned),
    }
}

/// A whole stack, innermost first, inlined frames expanded.
pub fn stack(stacks: &StackTable, symbols: &Symbols, id: StackId) -> Vec<FrameView> {
    stacks.stack(id).flat_map(|address| symbols.frames(address).iter().map(move |f| frame(stacks, symbols, address, f))).collect()
}
