//! Every form: what a page did not send does nothing.

use reqwest::Method;
use shared::people::Role;

use super::browser::{Browser, csrf};
use super::walk::{FIELDS, Things, routes, state};
use crate::harness::{World, send};

#[tokio::test(flavor = "multi_thread")]
async fn no_form_is_taken_from_another_site_or_without_its_sessions_token() {
    let world = World::start().await;
    // Somebody who may do all that there is.
    let mut owner = Browser::member(&world, Role::Owner).await;
    let things = Things::make(&world, &mut owner).await;
    let user = world.store.user_by_email(&"owner@example.com".parse().unwrap()).await.unwrap().expect("the owner");
    world.store.set_operator(user.id, true).await.expect("an operator");
    let token = csrf(&owner.get("/console/operations/lanes/bulk").await.text).expect("a token");
    let mut other = Browser::user(&world, "mallory@example.com").await;
    let others = csrf(&other.get("/console/account").await.text).expect("a token");
    let before = state(&world).await;
    let mut forms = 0;
    for (_, path) in routes().into_iter().filter(|(method, _)| *method == "POST") {
        let path = things.fill(&path);
        for (header, sent) in [
            (("sec-fetch-site", "same-origin"), None),
            (("sec-fetch-site", "same-origin"), Some("")),
            (("sec-fetch-site", "same-origin"), Some(others.as_str())),
            (("sec-fetch-site", "cross-site"), Some(token.as_str())),
            (("sec-fetch-site", "same-site"), Some(token.as_str())),
            (("origin", "https://evil.example"), Some(token.as_str())),
            (("origin", "null"), Some(token.as_str())),
        ] {
            let fields: Vec<_> = FIELDS.into_iter().chain(sent.map(|token| ("csrf", token))).collect();
            let request = owner.request(Method::POST, &path).header(header.0, header.1).form(&fields);
            let refused = send(request).await;
            let what = format!("{path} {header:?} {sent:?}: {} {}", refused.status, refused.text);
            assert_eq!(refused.status, 403, "{what}");
            assert!(refused.text.contains("This form is out of date"), "the guard's word, and not the role's: {what}");
            assert_eq!(refused.header("location"), None, "{what}");
        }
        forms += 1;
    }
    assert!(forms >= 23, "{forms} forms");
    assert_eq!(state(&world).await, before, "nothing was changed");
    // It was not for want of rights: the last of those forms with its token is taken.
    let path = "/console/operations/lanes/bulk";
    assert_eq!(owner.post(path, &[("csrf", &token), ("state", "paused")]).await.status, 303);
    assert_ne!(state(&world).await, before);
}
