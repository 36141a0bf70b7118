//! Every form, and every other method: what a page did not send does nothing.

use std::collections::BTreeMap;

use reqwest::Method;
use shared::people::Role;

use super::browser::{Browser, csrf};
use super::walk::{FIELDS, SOURCE, Things, routes, state};
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
    assert_eq!(forms, SOURCE.matches("post().to(").count(), "each form");
    assert_eq!(state(&world).await, before, "nothing was changed");
    // It was not for want of rights: the last of those forms with its token is taken.
    let path = "/console/operations/lanes/bulk";
    assert_eq!(owner.post(path, &[("csrf", &token), ("state", "paused")]).await.status, 303);
    assert_ne!(state(&world).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_a_page_does_not_have_is_answered_by_a_page_that_names_those_it_has() {
    let world = World::start().await;
    let mut owner = Browser::member(&world, Role::Owner).await;
    let things = Things::make(&world, &mut owner).await;
    let token = csrf(&owner.get("/console/account").await.text).expect("a token");
    let before = state(&world).await;
    let mut pages: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (method, path) in routes() {
        pages.entry(path).or_default().push(method);
    }
    for (path, has) in pages {
        let path = things.fill(&path);
        let allow = has.join(", ").replace("GET", "GET, HEAD");
        let brew = Method::from_bytes(b"BREW").expect("a method");
        let mut others = vec![Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS, brew];
        others.extend([Method::GET, Method::POST].into_iter().filter(|method| !has.contains(&method.as_str())));
        for method in others {
            // A POST is a form, and one without its token is refused before anybody looks for the page.
            let fields: &[_] = if method == Method::POST { &[("csrf", token.as_str())] } else { &[] };
            let signed_in = owner.request(method.clone(), &path).form(fields);
            let mut requests = vec![signed_in];
            if method != Method::POST {
                requests.push(world.client.bare(method.clone(), &path));
            }
            for request in requests {
                let answer = send(request).await;
                let what = format!("{method} {path}: {} {:?}", answer.status, answer.headers);
                assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, Some(allow.as_str())), "{what}");
                assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{what}");
                assert!(answer.text.contains("Nothing was changed"), "{what}: {}", answer.text);
                let policy = answer.header("content-security-policy").expect("a policy");
                assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{what}");
            }
        }
    }
    assert_eq!(state(&world).await, before, "nothing was changed");
    for path in ["/console/none", "/console/projects/x/none", "/console/operations/none"] {
        assert_eq!(send(owner.request(Method::PUT, path)).await.status, 404, "{path}");
    }
    let head = send(owner.request(Method::HEAD, "/console/sign-out")).await;
    assert_eq!((head.status.as_u16(), head.header("allow"), head.text.as_str()), (405, Some("POST"), ""));
}
