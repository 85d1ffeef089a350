use super::*;

const NOW_MS: i64 = 1_800_000_000_000;
const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn account(name: &str, proof: Proof) -> Account {
    Account { name: name.into(), created: Some(NOW_MS), revoked: None, proof, commands: vec![] }
}

fn certificate(name: &str, byte: u8) -> Certificate {
    Certificate { name: name.into(), sha256: [byte; 32], expires_ms: NOW_MS, own: byte < 9 }
}

fn some_accounts() -> Accounts {
    let mut accounts = Accounts::default();
    let pinned = Proof::Certificate { sha256: Some(hex(&[7; 32])), expires: Some(NOW_MS + 1000) };
    let password = password_proof("correct horse battery", &[1; 16]).unwrap();
    for (name, proof) in [
        ("tok", token_proof(TOKEN)),
        ("gone", token_proof(TOKEN)),
        ("pw", password.clone()),
        ("pwgone", password),
        ("cert", pinned.clone()),
        ("certgone", pinned),
        ("any", Proof::Certificate { sha256: None, expires: None }),
    ] {
        accounts.insert(account(name, proof)).unwrap();
    }
    for name in ["gone", "pwgone", "certgone"] {
        assert_eq!(accounts.revoke(name, NOW_MS), Ok(true));
        assert_eq!(accounts.revoke(name, NOW_MS + 5000), Ok(false), "the first time counts");
    }
    accounts
}

#[test]
fn an_account_is_its_proof_and_nothing_less() {
    let accounts = some_accounts();
    let told = |verdict: Verdict<'_>| match verdict {
        Verdict::Is(account) => format!("is {}", account.name),
        Verdict::IfPassword(account, _) => format!("if {}", account.name),
        Verdict::Nobody => "nobody".into(),
        Verdict::Wrong => "wrong".into(),
        Verdict::Revoked(account) => format!("revoked {}", account.name),
    };
    let (own, other, any) = (certificate("cert", 7), certificate("cert", 8), certificate("any", 9));
    let stolen = certificate("tok", 7);
    let (gone, own_any) = (certificate("certgone", 7), certificate("any", 8));
    for (user, password, shown, expected) in [
        (Some("tok"), Some(TOKEN), None, "is tok"),
        (Some("tok"), Some("wrong"), None, "wrong"),
        (Some("tok"), Some(""), None, "wrong"),
        (Some("tok"), None, None, "wrong"),
        (Some("Tok"), Some(TOKEN), None, "wrong"),
        (Some("tok2"), Some(TOKEN), None, "wrong"),
        (Some(""), Some(TOKEN), None, "wrong"),
        (None, Some(TOKEN), None, "wrong"),
        (None, None, None, "nobody"),
        (Some("gone"), Some(TOKEN), None, "revoked gone"),
        (Some("gone"), Some("wrong"), None, "wrong"),
        (Some("pw"), Some("anything"), None, "if pw"),
        (Some("pw"), None, None, "wrong"),
        (Some("pwgone"), Some("anything"), None, "revoked pwgone"),
        (None, None, Some(&own), "is cert"),
        (Some("cert"), None, Some(&own), "is cert"),
        (Some("cert"), Some("ignored"), Some(&own), "is cert"),
        (Some("any"), None, Some(&own), "wrong"),
        (Some("tok"), None, Some(&own), "wrong"),
        (None, None, Some(&other), "wrong"),
        (None, None, Some(&any), "is any"),
        (None, None, Some(&own_any), "wrong"),
        (Some("cert"), None, Some(&any), "wrong"),
        (Some("any"), None, None, "wrong"),
        (None, None, Some(&stolen), "wrong"),
        (None, None, Some(&gone), "revoked certgone"),
        (Some("tok"), Some(TOKEN), Some(&own), "is tok"),
    ] {
        let claim = Claim { user, password: password.map(str::as_bytes), certificate: shown };
        assert_eq!(told(accounts.judge(claim)), expected, "{user:?} {password:?} {:?}", shown.map(|c| &c.name));
    }
}

#[test]
fn a_session_is_good_as_long_as_its_account_is_as_it_was() {
    let mut accounts = some_accounts();
    let then = |accounts: &Accounts, name: &str| accounts.get(name).unwrap().clone();
    let (tok, cert, pw) = (then(&accounts, "tok"), then(&accounts, "cert"), then(&accounts, "pw"));
    assert!(accounts.still(&tok, NOW_MS) && accounts.still(&cert, NOW_MS) && accounts.still(&pw, NOW_MS));
    assert!(!accounts.still(&cert, NOW_MS + 1000), "its certificate has expired");
    accounts.revoke("tok", NOW_MS).unwrap();
    assert!(!accounts.still(&tok, NOW_MS) && accounts.still(&pw, NOW_MS));
    accounts.remove("pw").unwrap();
    assert!(!accounts.still(&pw, NOW_MS) && !accounts.reserved("pw"));
    accounts.insert(account("pw", token_proof("new"))).unwrap();
    assert!(!accounts.still(&pw, NOW_MS), "a new secret ends the sessions of the old one");
    let scada = Account { commands: vec!["g1".into(), "g2".into()], ..account("scada", token_proof(TOKEN)) };
    accounts.insert(scada.clone()).unwrap();
    assert!(accounts.still(&scada, NOW_MS) && Accounts::parse(&accounts.text()).unwrap() == accounts);
    accounts.remove("scada").unwrap();
    accounts.insert(Account { commands: vec!["g1".into()], ..scada.clone() }).unwrap();
    assert!(!accounts.still(&scada, NOW_MS), "fewer rights end the sessions with more");
    let wrong = accounts.insert(Account { commands: vec!["+".into()], ..account("any2", token_proof(TOKEN)) });
    assert!(matches!(wrong, Err(AccountsError::Name { name, .. }) if name == "+"));
}

#[test]
fn the_text_of_the_file_is_read_as_it_was_written_and_holds_no_secret() {
    let accounts = some_accounts();
    let text = accounts.text();
    assert_eq!(Accounts::parse(&text).unwrap(), accounts);
    assert!(text.contains("\"created\": \"2027-01-15T08:00:00Z\""), "{text}");
    assert!(!text.contains(TOKEN) && !text.contains("correct horse"), "{text}");
    assert_eq!(Accounts::parse("{\"format\": \"pattoo accounts 1\", \"accounts\": []}").unwrap(), Accounts::default());
}

#[test]
fn a_file_that_is_not_as_written_says_what_is_wrong_and_where() {
    let one = |body: &str| format!("{{\n\"format\": \"pattoo accounts 1\",\n\"accounts\": [{body}]}}");
    let token = format!("{{\"token\": {{\"sha256\": \"{}\"}}}}", hex(&[1; 32]));
    let good = format!("{{\"name\": \"g\", \"created\": null, \"proof\": {token}}}");
    assert!(Accounts::parse(&one(&good)).is_ok());
    let greedy = "$argon2id$v=19$m=1048576,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for (text, expected) in [
        (String::new(), "line 1, column 0: EOF"),
        ("{\"format\": \"x\", \"accounts\": []}".into(), "found format \"x\", expected"),
        (one("{\"name\": 1}"), "line 3, column 23: invalid type: integer `1`"),
        (one(&good.replace("\"name\"", "\"nam\"")), "unknown field `nam`"),
        (one(&good.replace("null", "\"yesterday\"")), "expected a time like"),
        (one(&good.replace("\"g\"", "\"a/b\"")), "gateway \"a/b\""),
        (one(&good.replace("01\"", "0\"")), "found a hash that cannot be read"),
        (one(&format!("{good},{good}")), "gateway g has an account"),
        (one(&good.replace(&token, &format!("{{\"password\": {{\"argon2\": \"{greedy}\"}}}}"))), "found a hash that cannot be read"),
        (" ".repeat(MAX_FILE_BYTES + 1), "expected at most"),
    ] {
        let error = Accounts::parse(&text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text:.80}: {error}");
    }
    let mut full = Accounts::default();
    for n in 0..MAX_ACCOUNTS {
        full.insert(account(&format!("g{n}"), token_proof("x"))).unwrap();
    }
    assert_eq!(full.insert(account("more", token_proof("x"))), Err(AccountsError::Full));
    assert!(full.text().len() <= MAX_FILE_BYTES, "as many as there may be fit into the file");
    assert_eq!(full.revoke("none", 0), Err(AccountsError::Unknown("none".into())));
}

#[test]
fn a_chosen_password_is_long_enough_one_line_and_kept_as_a_hash() {
    for (password, good) in [
        ("correct horse battery", true),
        ("elevenchars", false),
        ("twelve chars", true),
        ("two lines of\ntext", false),
        ("tab\tin between", false),
        (&"x".repeat(256), true),
        (&"x".repeat(257), false),
    ] {
        let proof = password_proof(password, &[3; 16]);
        assert_eq!(proof.is_ok(), good, "{password:?}");
        match proof {
            Ok(Proof::Password { argon2 }) => {
                assert!(password_is(&argon2, password.as_bytes()) && !password_is(&argon2, b"another one altogether"));
                assert!(argon2.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{argon2}");
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => assert!(!error.to_string().contains(password), "{error}"),
        }
    }
    assert!(!password_is("not a hash", b"x"));
}
