//! The rows of the benchmark.

mod bucket;
mod client;
mod confirm;
mod get;
mod list;
mod nodes;
mod page;
mod parked;
pub mod preview;
mod slots;
mod start;
mod upload;

use crate::options::Row;

/// Every row.
pub const TABLE: &[Row] = &[
    Row { name: "get", about: "small public downloads", run: get::small },
    Row { name: "304", about: "downloads of what the client has", run: get::conditional },
    Row { name: "large", about: "downloads of 100 MiB", run: get::large },
    Row { name: "ranges", about: "random pieces of a large file", run: get::ranges },
    Row { name: "upload", about: "small uploads", run: upload::small },
    Row { name: "upload8m", about: "uploads of 8 MiB", run: upload::large },
    Row { name: "upload1g", about: "uploads of 1 GiB", run: upload::largest },
    Row { name: "slot", about: "small uploads by slot", run: slots::small },
    Row { name: "slot8m", about: "uploads of 8 MiB by slot", run: slots::large },
    Row {
        name: "uploads",
        about: "slots, downloads and sweeps among a million uploads",
        run: slots::among_many,
    },
    Row { name: "sweep", about: "downloads while 100,000 uploads expire", run: slots::beside_sweep },
    Row { name: "preview", about: "previews of 12 megapixels", run: preview::cold },
    Row { name: "left", about: "memory after 1,000 previews", run: preview::left_behind },
    Row { name: "cached", about: "stored previews", run: preview::cached },
    Row { name: "confirm", about: "private downloads, each confirmed", run: confirm::downloads },
    Row { name: "client", about: "uploads by the command line's client", run: client::uploads },
    Row {
        name: "nodes",
        about: "two nodes beside one, each request confirmed: a simulation",
        run: nodes::confirmations,
    },
    Row { name: "bucket", about: "files in an S3 store", run: bucket::files },
    Row { name: "list", about: "pages of a channel with a million media", run: list::pages },
    Row { name: "page", about: "a page of 100 previews", run: page::views },
    Row { name: "parked", about: "10,000 requests that wait for their users", run: parked::confirmations },
    Row { name: "start", about: "start, memory and size", run: start::cold },
];
