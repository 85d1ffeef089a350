//! What a receiver makes of the messages of net-snmp 5.9.3, byte for byte as they came, and of those that somebody made up.

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::message::{INFORM, Message, Own, Pdu, RESPONSE, Scoped, Stat};
use super::receiver::{Receiver, Taken};
use super::usm::{Level, Moment, User};
use crate::config::snmp::{AuthProtocol, Cipher, KeyExtension};

const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));
const ENGINE: &[u8] = b"\x80\0\x7e\xd9\x04plant7";
/// What `LINK_DOWN` says, in one line.
const LINK_DOWN: &str = "1.3.6.1.6.3.1.1.5.3 1.3.6.1.2.1.2.2.1.1.2=2 1.3.6.1.2.1.2.2.1.8.2=2 1.3.6.1.2.1.31.1.1.1.1.2=eth1";

/// `snmptrap -v1`, generic trap 2, agent 10.1.2.3.
const V1_GENERIC: &str = "306202010004067075626c6963a455060a2b06010401bf0803020a40040a010203020102020100430230393037300f060a2b06010201020201010202\
    0102300f060a2b0601020102020108020201023013060b2b060102011f0101010102040465746831";
/// `snmptrap -v1`, specific trap 5 of APC.
const V1_SPECIFIC: &str = "304e02010004067075626c6963a44106072b06010401823e40040a0102030201060201054302303930263024060b2b06010401823e02030300041555\
    50533a204f6e206261747465727920706f776572";
/// `snmptrap -v2c`.
const V2C: &str = "307b02010104067075626c6963a76e020422c91b600201000201003060300e06082b06010201010300430230393017060a2b06010603010104010006\
    092b0601060301010503300f060a2b060102010202010102020102300f060a2b0601020102020108020201023013060b2b060102011f010101010204\
    0465746831";
/// `snmpinform -v2c`; its second try is the same.
const V2C_INFORM: &str = "307b02010104067075626c6963a66e020412d8c3a40201000201003060300e06082b06010201010300430230393017060a2b06010603010104010006\
    092b0601060301010503300f060a2b060102010202010102020102300f060a2b0601020102020108020201023013060b2b060102011f010101010204\
    0465746831";
/// `snmptrap -v3 -l noAuthNoPriv`, as all the others with the engine 8000000001020304.
const V3_NOTHING: &str = "3081be020103301102045779dd47020300ffe3040100020103041e301c04088000000001020304020101020301fa7b04046f70656e04000400308185\
    041180001f88808e8aa07f60f00c6b000000000400a76e020441e97d640201000201003060300e06082b06010201010300430230393017060a2b0601\
    0603010104010006092b0601060301010503300f060a2b060102010202010102020102300f060a2b0601020102020108020201023013060b2b060102\
    011f0101010102040465746831";
/// SHA-1 and AES-128.
const V3_SHA_AES: &str = "3081d4020103301102047365e90c020300ffe30401030201030431302f04088000000001020304020101020301fa7904036d6f6e040caf55a869cf0c\
    77a8c3c982310408f7df93bd772ba2db048188cc57366485422bb615a95821909ec174c337ebcc1ce5f25d8265e8fb485f14a37b11a14617e24447a1\
    e980688c36300dd6d62acb247cf4ede29a5f7b0377276065c11fbac5b42d8b051ebb2fb9e5c5dc5872ed1c063173c94610465dbd235301d78ed97f2c\
    f9a71f6438a9690574b807f711e4768923dc6da921e64e5a2f0f4b4ccae6efadbb6f2b";
/// SHA-256 and AES-128.
const V3_SHA256_AES: &str = "3081e1020103301102044cac2080020300ffe3040103020103043e303c04088000000001020304020101020301fa7a04046d6f6e320418e24f625133\
    6c1868f7e192faf69f4e5e83f368c6fc22801e0408bb6e57cb1b74ebfa048188f0789d209ad3f42d3b21a5a83665e3918feb2daf105a3fadbe406460\
    e1716802f0546d8696826b81f4d30d393faf81b383c45c1922289c548c2cb8dd6ba8366ec19e1f6e0156c3c3e2b511be022e269fa927cbaa43ea45c5\
    14f160856c19d2e659463d8dc1ef9a93e779725b3b9262a4c85680746180c79187e11e495805c90c598bd8f0c8417fa3";
/// MD5 and DES.
const V3_MD5_DES: &str = "3081d4020103301102045a80cb00020300ffe30401030201030431302f04088000000001020304020101020301fa7c04036f6c64040c30e2d4fee77c\
    94e289f0c6a704080000000827ef3582048188208d60574a95fa9a54006a1c10f5562fdf93c8e40a3adebb61a438f62b62eccd4fbc773103c065bf32\
    853c0fa419d08000f8731e49352b353bb469ce504f433ac07d5f321240faa0806440b432355a1655f3d8492649cdf9564cbfd0a97bb7b8a0355c36f7\
    8761bd67bb63b3017be7c6134422cc892ed373eb3c7f6d42a6b51f5544847750b89624";
/// SHA-512 and AES-256.
const V3_SHA512_AES256: &str = "3081f8020103301102040c613ee9020300ffe30401030201030455305304088000000001020304020101020301fa7e04036269670430f9d6578fe1c0\
    7b87cdd56accf7b5da3bd28a9182a585e3dbdc1856a748dc857bf051788a542a78286d6fde23c7fef0870408c899d70f69b4a88e04818813328cbba7\
    e967480dca4230a77546c8a9f6df9d161c26e47808a6237a786df57ed0c86aa060e4d8750b4a3ac0a048309a252cd964b49ea12bffcd38b13d1c718b\
    69c1a062ebb78a435de42334d1ffa8fd089433f2920e22bdc63465bd1836dfb36fa2d20e63f43e056012e00945f1c9945e4ff390e352a843414d8a48\
    5ac6741576f245fc1dcac8";
/// SHA-1 and AES-256, whose key is extended as Blumenthal says.
const V3_SHA_AES256: &str = "3081d4020103301102040a285834020300ffe30401030201030431302f04088000000001020304020101020301fa7f0403657874040c0c12da6dcb96\
    74e1ca436edf04080f949c8c1d5a17a304818801a86fd9d31f6ca37226e8e724a3f15e26305aeef18b3cc9278d02a0495ed45abc61be8b0f4f6cce70\
    21db11c23a9c3ef7da2bf2dca685d55fad9baaa11a3285d8682f1171d6e6ce3fb2124c5f8b9a336507d0fb3796ff35e1ba730e5fa9ddb1e8283395a1\
    7840dd254b665be72357be90a40da59b31f76204570a9403894bd964c6d802788ca201";
/// What `snmpinform -v3` begins with: it asks for the id of the engine.
const DISCOVERY: &str = "304f020103301102047686e32b020300ffe30401040201030410300e04000201000201000400040004003025041180001f88808e8aa07f60f00c6b00\
    0000000400a00e02044583162c0201000201003000";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(char::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

fn user(name: &str, auth: AuthProtocol, cipher: Cipher) -> User {
    User::new(name, Some((auth, "authpass12")), Some((cipher, KeyExtension::Blumenthal, "privpass12")))
}

fn receiver(now: Instant) -> Receiver {
    // Their keys take a moment to make.
    static USERS: LazyLock<Vec<User>> = LazyLock::new(users);
    Receiver::new(vec![b"ops".to_vec(), b"public".to_vec()], USERS.clone(), ENGINE.to_vec(), 7, 1, now)
}

fn users() -> Vec<User> {
    vec![
        User::new("open", None, None),
        user("mon", AuthProtocol::Sha1, Cipher::Aes128),
        user("mon2", AuthProtocol::Sha256, Cipher::Aes128),
        user("old", AuthProtocol::Md5, Cipher::Des),
        user("big", AuthProtocol::Sha512, Cipher::Aes256),
        user("ext", AuthProtocol::Sha1, Cipher::Aes256),
    ]
}

fn text(taken: &Taken) -> String {
    taken.notice.as_ref().map(|(notice, _)| notice.text()).unwrap_or_default()
}

#[test]
fn every_version_and_protection_of_net_snmp_is_understood() {
    let now = Instant::now();
    for (message, says) in [
        (V1_GENERIC, LINK_DOWN),
        (V1_SPECIFIC, "1.3.6.1.4.1.318.0.5 1.3.6.1.4.1.318.2.3.3.0=UPS: On battery power"),
        (V2C, LINK_DOWN),
        (V2C_INFORM, LINK_DOWN),
        (V3_NOTHING, LINK_DOWN),
        (V3_SHA_AES, LINK_DOWN),
        (V3_SHA256_AES, LINK_DOWN),
        (V3_MD5_DES, LINK_DOWN),
        (V3_SHA512_AES256, LINK_DOWN),
        (V3_SHA_AES256, LINK_DOWN),
    ] {
        let taken = receiver(now).take(SOURCE, &bytes(message), now);
        assert_eq!((text(&taken).as_str(), taken.miss), (says, None), "{message}");
        let (_, engine) = taken.notice.unwrap();
        assert_eq!(engine.is_some(), Message::read(&bytes(message)).is_some_and(|message| matches!(message, Message::V3(_))), "{message}");
    }
}

#[test]
fn a_trap_of_v1_says_which_agent_it_is_of() {
    let now = Instant::now();
    let taken = receiver(now).take(SOURCE, &bytes(V1_GENERIC), now);
    assert_eq!(taken.notice.unwrap().0.agent, Some("10.1.2.3".parse().unwrap()));
}

#[test]
fn an_inform_is_acknowledged_each_time_and_counts_once() {
    let now = Instant::now();
    let mut receiver = receiver(now);
    let inform = bytes(V2C_INFORM);
    // Tag of the PDU: the only difference between an inform and its acknowledgement.
    let mut acknowledgement = inform.clone();
    acknowledgement[13] = RESPONSE;
    assert_eq!(inform[13], INFORM);
    for (seconds, says, miss) in [(0, LINK_DOWN, None), (1, "", Some("duplicate")), (2, "", Some("duplicate"))] {
        let taken = receiver.take(SOURCE, &inform, now + Duration::from_secs(seconds));
        assert_eq!((text(&taken).as_str(), taken.miss), (says, miss));
        assert_eq!(taken.answer.as_ref(), Some(&acknowledgement), "after {seconds} s");
    }
    assert_eq!(text(&receiver.take("10.0.0.10".parse().unwrap(), &inform, now)), LINK_DOWN, "another agent may have the same numbers");
}

#[test]
fn whoever_asks_for_the_engine_is_told() {
    let start = Instant::now();
    let taken = receiver(start).take(SOURCE, &bytes(DISCOVERY), start + Duration::from_secs(60));
    assert_eq!((&taken.notice, taken.miss), (&None, None));
    let answer = taken.answer.unwrap();
    let Some(Message::V3(report)) = Message::read(&answer) else { panic!("no report") };
    assert_eq!((report.id, report.engine, report.moment), (1_988_551_467, ENGINE, Moment { boots: 7, seconds: 60 }));
    assert_eq!((report.level, report.reportable), (Level { auth: false, privacy: false }, false));
    // usmStatsUnknownEngineIDs.0 is 1, for the request that was asked.
    let content = bytes("02044583162c 020100 020100 3011 300f 060a2b060106030f01010400 410101");
    assert_eq!(Scoped::read(report.body).unwrap().pdu, Pdu { tag: 0xA8, content: &content });
}

/// An inform to the engine of this receiver, as a sender makes it that knows its moment.
fn inform_to_us(name: &User, moment: Moment, protected: bool) -> Vec<u8> {
    let inform = bytes(V2C_INFORM);
    let Some(Message::Community { pdu, .. }) = Message::read(&inform) else { panic!("no inform") };
    let own = Own { engine: ENGINE, moment, salt: 9 };
    let level = if protected { name.level() } else { Level { auth: false, privacy: false } };
    own.message(77, level, Some(name).filter(|_| level.auth), &name.name, &Scoped { engine: ENGINE, context: b"", pdu }).unwrap()
}

#[test]
fn an_inform_of_v3_is_acknowledged_under_its_own_protection_and_only_in_time() {
    let start = Instant::now();
    let mon = user("mon", AuthProtocol::Sha1, Cipher::Aes128);
    for (boots, seconds, miss) in [
        (7, 1000, None),
        (7, 850, None),
        (7, 1150, None),
        (7, 849, Some("not in the time window")),
        (7, 1151, Some("not in the time window")),
        (6, 1000, Some("not in the time window")),
        (8, 1000, Some("not in the time window")),
    ] {
        let mut receiver = receiver(start);
        let message = inform_to_us(&mon, Moment { boots, seconds }, true);
        // An inform is reportable; the flags are not under a signature of ours that is made here.
        let taken = receiver.take(SOURCE, &message, start + Duration::from_secs(1000));
        assert_eq!(taken.miss, miss, "{boots} {seconds}");
        let Some(answer) = taken.answer else {
            assert!(miss.is_some());
            continue;
        };
        let Some(Message::V3(response)) = Message::read(&answer) else { panic!("no response") };
        assert_eq!((response.id, response.level, response.user), (77, mon.level(), &b"mon"[..]));
        assert!(response.is_signed_by(&mon, &answer));
        let opened = mon.open(ENGINE, response.moment, response.salt, response.body).unwrap();
        let pdu = Scoped::read_element(&opened).unwrap().pdu;
        assert_eq!((pdu.tag, super::message::request_id(pdu)), (RESPONSE, Some(0x12D8_C3A4)));
    }
}

#[test]
fn who_is_not_known_or_not_protected_enough_is_not_listened_to() {
    let now = Instant::now();
    let with = |message: &str, from: &str, to: &str| bytes(&message.replacen(from, to, 1));
    let community = |to: &str| with(V2C, "7075626c6963", to);
    let mon = user("mon", AuthProtocol::Sha1, Cipher::Aes128);
    let mut forged = bytes(V3_SHA_AES);
    *forged.last_mut().unwrap() ^= 1;
    for (message, miss) in [
        (community("7075626c6964"), "unknown community"),
        (with(V3_SHA_AES, "6d6f6e", "6d6f6f"), "unknown user"),
        (forged, "wrong signature"),
        (inform_to_us(&mon, Moment { boots: 7, seconds: 0 }, false), "wrong security level"),
        (with(V2C, "a76e", "a06e"), "no notification"),
        (with(V1_GENERIC, "020100", "020101"), "no notification"),
        (bytes(&V2C[..V2C.len() - 2]), "malformed"),
        (Vec::new(), "malformed"),
    ] {
        let taken = receiver(now).take(SOURCE, &message, now);
        assert_eq!((&taken.notice, taken.miss), (&None, Some(miss)), "{message:02x?}");
    }
}

#[test]
fn what_was_recorded_cannot_be_played_again() {
    let now = Instant::now();
    let mut receiver = receiver(now);
    let trap = bytes(V3_SHA_AES);
    assert_eq!(receiver.take(SOURCE, &trap, now).miss, None);
    assert_eq!(receiver.take(SOURCE, &trap, now + Duration::from_secs(149)).miss, None, "late, and no double within two seconds");
    assert_eq!(receiver.take(SOURCE, &trap, now + Duration::from_secs(400)).miss, Some("not in the time window"));
}

#[test]
fn a_storm_of_one_source_leaves_the_others_their_room() {
    let now = Instant::now();
    let mut receiver = receiver(now);
    let trap = |number: u8| {
        let mut trap = bytes(V2C);
        trap[17] = number;
        trap
    };
    let taken = (0..200).filter(|number| receiver.take(SOURCE, &trap(*number), now).notice.is_some()).count();
    assert_eq!(taken, 100);
    assert!(receiver.take("10.0.0.10".parse().unwrap(), &trap(201), now).notice.is_some());
    assert!(receiver.take(SOURCE, &trap(202), now + Duration::from_secs(1)).notice.is_some(), "a second later");
}

#[test]
fn a_report_that_must_be_believed_is_signed() {
    let mon = user("mon", AuthProtocol::Sha1, Cipher::Aes128);
    let inform = inform_to_us(&mon, Moment { boots: 1, seconds: 1 }, true);
    let Some(Message::V3(message)) = Message::read(&inform) else { panic!("no message") };
    let own = Own { engine: ENGINE, moment: Moment { boots: 7, seconds: 9 }, salt: 3 };
    let report = own.report(&message, Stat::NotInTimeWindows, 1, Some(&mon)).unwrap();
    let Some(Message::V3(report_message)) = Message::read(&report) else { panic!("no report") };
    assert!(report_message.is_signed_by(&mon, &report));
    assert_eq!(report_message.level, Level { auth: true, privacy: false });
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(noise in prop::collection::vec(any::<u8>(), 0..400)) {
        let now = Instant::now();
        let mut receiver = Receiver::new(vec![b"public".to_vec()], vec![User::new("open", None, None)], ENGINE.to_vec(), 7, 1, now);
        receiver.take(SOURCE, &noise, now);
    }

    #[test]
    fn no_damage_to_a_message_makes_it_panic(which in 0usize..6, at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let now = Instant::now();
        let mut receiver = Receiver::new(vec![b"public".to_vec()], vec![User::new("open", None, None)], ENGINE.to_vec(), 7, 1, now);
        let mut message = bytes([V1_GENERIC, V1_SPECIFIC, V2C, V2C_INFORM, V3_NOTHING, DISCOVERY][which]);
        let place = at.index(message.len());
        message[place] = to;
        message.truncate(cut.index(message.len()) + 1);
        receiver.take(SOURCE, &message, now);
    }
}
