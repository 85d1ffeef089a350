use super::*;

const NOW: i64 = 1_800_000_000_000;
const GOOD: &str = "correct horse battery";

fn users() -> Users {
    let mut users = Users::default();
    for (name, role) in [("ada", Role::Admin), ("olga", Role::Operator), ("vic", Role::Viewer)] {
        users.add(name, role, NOW).unwrap();
    }
    users.set_password("ada", GOOD, &[1; 16], false).unwrap();
    users
}

#[test]
fn the_text_of_the_file_is_read_as_it_was_written_and_holds_no_secret() {
    let mut users = users();
    users.set_link("vic", "link secret", false, NOW).unwrap();
    users.add_token("olga", ("metrics", Role::Viewer), "pattoo_secret", Some(NOW + 1000), NOW).unwrap();
    let text = users.text();
    assert_eq!(Users::parse(&text).unwrap(), users);
    assert!(text.contains("\"created\": \"2027-01-15T08:00:00Z\""), "{text}");
    for secret in [GOOD, "link secret", "pattoo_secret"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn a_file_that_is_not_as_written_says_what_is_wrong_and_nothing_of_it_is_taken() {
    let text = users().text();
    let greedy = "$argon2id$v=19$m=1048576,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let hash = users().get("ada").unwrap().argon2.clone().unwrap();
    for (text, expected) in [
        (String::new(), "line 1, column 0: EOF"),
        (text.replace(FORMAT, "pattoo users 9"), "found format \"pattoo users 9\", expected"),
        (text.replace("\"viewer\"", "\"owner\""), "unknown variant `owner`"),
        (text.replace("\"name\"", "\"nom\""), "unknown field `nom`"),
        (text.replace("\"vic\"", "\"v/c\""), "user \"v/c\""),
        (text.replace("\"vic\"", "\"ada\""), "there is a user ada"),
        (text.replace(&hash, greedy), "user ada: found a hash that cannot be read"),
        (" ".repeat(MAX_FILE_BYTES + 1), "expected at most"),
    ] {
        let error = Users::parse(&text).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn a_link_lets_in_once_and_not_for_long_and_not_who_is_disabled() {
    for (what, secret, after, disabled, expected) in [
        ("right", "secret", 0, false, Some("vic")),
        ("just in time", "secret", LINK_MS - 1, false, Some("vic")),
        ("too late", "secret", LINK_MS, false, None),
        ("wrong", "Secret", 0, false, None),
        ("empty", "", 0, false, None),
        ("disabled", "secret", 0, true, None),
    ] {
        let mut users = users();
        users.set_link("vic", "secret", false, NOW).unwrap();
        if disabled {
            users.set("vic", None, Some(true)).unwrap();
        }
        let used = users.use_link(secret, NOW + after);
        assert_eq!(used.as_ref().map(|user| user.name.as_str()), expected, "{what}");
        assert!(used.is_none_or(|user| user.must_choose()), "{what}: without a password one is chosen first");
        assert!(users.use_link(secret, NOW + after).is_none(), "{what}: twice");
    }
    let mut users = users();
    users.set_link("ada", "secret", false, NOW).unwrap();
    assert!(!users.clone().use_link("secret", NOW).unwrap().must_choose(), "who has a password keeps it");
    users.set_link("ada", "secret", true, NOW).unwrap();
    assert!(users.clone().use_link("secret", NOW).unwrap().must_choose());
    users.set_password("ada", "another good password", &[2; 16], false).unwrap();
    assert!(users.use_link("secret", NOW).is_none(), "a new password ends the link");
}

fn token_id(users: &Users) -> String {
    users.tokens_of("ada").next().unwrap().id.clone()
}

#[test]
fn a_token_may_what_it_says_and_never_more_than_its_user_does_now() {
    use Role::{Admin, Operator, Viewer};
    let mut base = users();
    base.add_token("ada", ("x", Operator), "secret", Some(NOW + 1000), NOW).unwrap();
    base.add("bob", Admin, NOW).unwrap();
    type Change = fn(&mut Users);
    let cases: [(&str, Change, &str, i64, Option<Role>); 7] = [
        ("as made", |_| (), "secret", 0, Some(Operator)),
        ("wrong", |_| (), "secres", 0, None),
        ("expired", |_| (), "secret", 1000, None),
        ("its user may less", |u| u.set("ada", Some(Viewer), None).unwrap(), "secret", 0, Some(Viewer)),
        ("its user is disabled", |u| u.set("ada", None, Some(true)).unwrap(), "secret", 0, None),
        ("revoked", |u| drop(u.revoke_token(&token_id(u), Some("ada")).unwrap()), "secret", 0, None),
        ("another's", |u| assert!(u.revoke_token(&token_id(u), Some("vic")).is_err()), "secret", 0, Some(Operator)),
    ];
    for (what, change, secret, after, expected) in cases {
        let mut users = base.clone();
        change(&mut users);
        assert_eq!(users.by_token(secret, NOW + after).map(|(_, _, role)| role), expected, "{what}");
    }
    for (what, role, label, expires) in [
        ("more than its user", Admin, "x", None),
        ("no name", Viewer, " ", None),
        ("two lines", Viewer, "a\nb", None),
        ("too long", Viewer, &*"x".repeat(65), None),
        ("over already", Viewer, "x", Some(NOW)),
    ] {
        assert!(base.add_token("olga", (label, role), "s", expires, NOW).is_err(), "{what}");
    }
    for n in 0..MAX_TOKENS_EACH {
        base.add_token("olga", ("x", Viewer), &format!("s{n}"), None, NOW).unwrap();
    }
    assert_eq!(base.add_token("olga", ("x", Viewer), "more", None, NOW).unwrap_err(), UsersError::TooManyTokens("olga".into()));
}

#[test]
fn there_is_always_an_admin() {
    let mut users = users();
    for (role, disabled) in [(Some(Role::Operator), None), (None, Some(true))] {
        assert_eq!(users.set("ada", role, disabled), Err(UsersError::LastAdmin("ada".into())));
    }
    users.set("vic", Some(Role::Admin), Some(true)).unwrap();
    assert!(users.set("ada", None, Some(true)).is_err(), "a disabled one does not count");
    users.set("vic", None, Some(false)).unwrap();
    users.set("ada", None, Some(true)).unwrap();
    assert!(users.get("ada").unwrap().disabled);
}

#[test]
fn bounds_hold_and_roles_are_ordered() {
    let mut users = Users::default();
    assert!(users.unused());
    for n in 0..MAX_USERS {
        users.add(&format!("u{n}"), Role::Viewer, NOW).unwrap();
    }
    assert_eq!(users.add("more", Role::Viewer, NOW), Err(UsersError::Full));
    assert!(!users.unused());
    let mut users = Users::default();
    users.add(FIRST, Role::Admin, NOW).unwrap();
    assert!(users.unused(), "it has not chosen a password");
    users.set_password(FIRST, GOOD, &[0; 16], false).unwrap();
    assert!(!users.unused());
    assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
    for password in ["", "elevenchars", "two lines of\ntext"] {
        let error = users.set_password(FIRST, password, &[0; 16], false).unwrap_err();
        assert!(matches!(error, UsersError::Password(_)), "{error}");
    }
    let made = Users::default().add("", Role::Viewer, NOW);
    assert!(matches!(made, Err(UsersError::Name { .. })));
}
