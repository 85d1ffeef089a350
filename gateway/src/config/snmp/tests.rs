use super::*;

fn read(mapping: &str, secrets: Result<&str, &str>) -> Result<Agent, Vec<String>> {
    let file = Path::new("gateway.yaml");
    let node = yaml::parse(file, mapping.as_bytes(), 10_000).unwrap();
    let mut problems = Problems::of(file);
    let files = |path: &Path, _| match secrets {
        Ok(text) => Ok(text.as_bytes().to_vec()),
        Err(why) => Err(Problem::whole(path, why)),
    };
    let agent = agent(&node, "device `d`", &files, &mut problems);
    let list = problems.into_list();
    if list.is_empty() { Ok(agent.unwrap()) } else { Err(list.iter().map(ToString::to_string).collect()) }
}

#[test]
fn an_agent_is_asked_as_its_mapping_says() {
    let agent = read("host: 10.0.0.9\ncommunity: public", Err("none")).unwrap();
    assert_eq!((agent.endpoint.as_str(), &agent.security), ("10.0.0.9:161", &Security::V2c(Secret("public".into()))));
    assert_eq!((agent.timeout, agent.retries, agent.deadline), (SNMP_TIMEOUT, SNMP_RETRIES, SNMP_DEADLINE));
    let agent =
        read("{ host: '[2001:db8::9]:1161', version: 1, secrets: s, timeout: 1s, retries: 0, deadline: 3s }", Ok("community: quiet"))
            .unwrap();
    assert_eq!((agent.endpoint.as_str(), &agent.security), ("[2001:db8::9]:1161", &Security::V1(Secret("quiet".into()))));
    assert_eq!((agent.timeout, agent.retries, agent.deadline), (Duration::from_secs(1), 0, Duration::from_secs(3)));
    let user = "{ host: h, version: 3, user: mon, auth: sha512, priv: aes256, key_extension: reeder, context: c, secrets: s }";
    let Security::V3(user) = read(user, Ok("auth: authpass12\npriv: privpass12")).unwrap().security else { panic!() };
    assert_eq!(user.auth, Some((AuthProtocol::Sha512, Secret("authpass12".into()))));
    assert_eq!(user.privacy, Some((Cipher::Aes256, Secret("privpass12".into()))));
    assert_eq!((user.key_extension, user.context.as_str()), (KeyExtension::Reeder, "c"));
    assert!(!format!("{user:?}").contains("pass12"), "a log would show it");
}

#[test]
fn each_mistake_is_told_where_it_is_and_shows_no_secret() {
    for (mapping, secrets, expected) in [
        (
            "{ community: public }",
            Err(""),
            "gateway.yaml:1:1: device `d`, snmp: `host` is missing, expected host or host:port, such as 10.0.0.9",
        ),
        (
            "{ host: h }",
            Err(""),
            "gateway.yaml:1:1: device `d`, snmp: `community` is missing, expected the name of a community, here or in `secrets`",
        ),
        (
            "{ host: 'h:x', community: c }",
            Err(""),
            "gateway.yaml:1:9: device `d`, snmp, host: found `h:x`, expected host or host:port, such as 10.0.0.9 or [2001:db8::9]:1161",
        ),
        (
            "{ host: h, community: c, user: u }",
            Err(""),
            "gateway.yaml:1:32: device `d`, snmp, user: found without `version: 3`, expected only with it",
        ),
        (
            "{ host: h, version: 3, community: c }",
            Err(""),
            "gateway.yaml:1:35: device `d`, snmp, community: found with version 3, expected a `user`",
        ),
        (
            "{ host: h, version: 3, user: u, auth: md5 }",
            Err(""),
            "gateway.yaml:1:39: device `d`, snmp, auth: has no password: expected it in the file of `secrets`",
        ),
        (
            "{ host: h, version: 3, user: u, priv: des }",
            Err(""),
            "gateway.yaml:1:39: device `d`, snmp, priv: found without `auth`, expected only with it",
        ),
        (
            "{ host: h, version: 3, user: u, auth: md5, secrets: /s }",
            Ok("auth: short12\n"),
            "/s:1:7: auth: found 7 bytes, expected a password of 8 to 255",
        ),
        (
            "{ host: h, version: 3, user: u, auth: md5, secrets: /s }",
            Ok("auth: ''\n"),
            "/s:1:7: auth: found 0 bytes, expected a password of 8 to 255",
        ),
        (
            "{ host: h, version: 3, user: u, auth: md4, secrets: /s }",
            Ok("auth: authpass12\n"),
            "gateway.yaml:1:39: device `d`, snmp, auth: found `md4`, expected one of md5, sha1, sha224, sha256, sha384, sha512; did you mean `md5`?",
        ),
        ("{ host: h, secrets: /s }", Err("not found"), "/s: not found"),
        (
            "{ host: h, community: c, retries: 11 }",
            Err(""),
            "gateway.yaml:1:35: device `d`, snmp, retries: found `11`, expected how often a question is asked again from 0 to 10",
        ),
    ] {
        assert_eq!(read(mapping, secrets), Err(vec![expected.to_owned()]), "{mapping}");
    }
}
