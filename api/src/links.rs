//! Where the document's answers lead: which operation takes what an answer names. Clients that follow links, and tests that walk
//! through the API as a client does, go by them.

use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{OpenApi, RefOr};

/// Parameters of an operation, each with where its value stands (OpenAPI 3.1, "runtime expressions").
type Values = &'static [(&'static str, &'static str)];

const FIRST_CREATOR: Values = &[("id", "$response.body#/data/0/id")];
const SAME_CREATOR: Values = &[("id", "$request.path.id")];
const JOB: Values = &[("id", "$response.body#/data/jobId")];

/// An operation and a status; the operation that the answer leads to, and with what.
const LINKS: [(&str, &str, &str, Values); 16] = [
    ("list_creators", "200", "show_creator", FIRST_CREATOR),
    ("list_creators", "200", "show_profile", FIRST_CREATOR),
    ("list_creators", "200", "list_videos", FIRST_CREATOR),
    ("list_creators", "200", "show_creator_history", FIRST_CREATOR),
    ("list_creators", "200", "change_creator", FIRST_CREATOR),
    ("list_creators", "200", "sync_creator", FIRST_CREATOR),
    ("list_creators", "200", "disconnect_creator", FIRST_CREATOR),
    ("show_creator", "200", "sync_creator", SAME_CREATOR),
    ("change_creator", "200", "show_creator", SAME_CREATOR),
    ("sync_creator", "200", "show_profile", SAME_CREATOR),
    ("sync_creator", "200", "list_videos", SAME_CREATOR),
    ("sync_creator", "200", "disconnect_creator", SAME_CREATOR),
    ("sync_creator", "202", "show_job", JOB),
    ("disconnect_creator", "202", "show_job", JOB),
    ("sync_creators", "202", "show_batch", &[("id", "$response.body#/data/batchId")]),
    (
        "list_videos",
        "200",
        "show_video_history",
        &[("id", "$request.path.id"), ("videoId", "$response.body#/data/items/0/id")],
    ),
];

/// Writes them into the document. A link is called as the operation that it leads to.
pub fn apply(document: &mut OpenApi) {
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        let id = operation.operation_id.clone().unwrap_or_default();
        for (_, status, to, values) in LINKS.iter().filter(|(from, ..)| *from == id) {
            let Some(RefOr::T(response)) = operation.responses.responses.get_mut(*status) else { continue };
            let link = LinkBuilder::new().operation_id(*to);
            let link = values.iter().fold(link, |link, (name, value)| link.parameter(*name, *value));
            response.links.insert((*to).to_owned(), RefOr::T(link.build()));
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten()
}
