//! The parts of an SNMP message that brings a notification, and those that answer one. Pure. Judges nothing: see `receiver`.

use snmp2::AsnReader;

use super::ber::{COUNTER32, INTEGER, OID, SEQUENCE, element, elements, number, octets};
use super::usm::{Level, Moment, User};

pub(super) const TRAP_V1: u8 = 0xA4;
pub(super) const INFORM: u8 = 0xA6;
pub(super) const TRAP: u8 = 0xA7;
pub(super) const RESPONSE: u8 = 0xA2;
const REPORT: u8 = 0xA8;

const AUTH: u8 = 1;
const PRIVACY: u8 = 2;
const REPORTABLE: u8 = 4;
/// The user-based security model.
const USM: i64 = 3;
const V3: i64 = 3;
/// Largest message that is taken: all that UDP carries.
const MAX_MESSAGE: i64 = 65_507;
/// `usmStats`, the counters that a report names.
const USM_STATS: &[u8] = &[0x2B, 6, 1, 6, 3, 15, 1, 1];

/// A message as it comes.
#[derive(Debug, PartialEq)]
pub(super) enum Message<'m> {
    /// v1 and v2c.
    Community {
        version: i64,
        community: &'m [u8],
        pdu: Pdu<'m>,
    },
    V3(V3Message<'m>),
}

/// A PDU by its tag.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pdu<'m> {
    pub(super) tag: u8,
    pub(super) content: &'m [u8],
}

/// The parts of a v3 message.
#[derive(Debug, PartialEq)]
pub(super) struct V3Message<'m> {
    pub(super) id: i64,
    pub(super) level: Level,
    pub(super) reportable: bool,
    pub(super) engine: &'m [u8],
    pub(super) moment: Moment,
    pub(super) user: &'m [u8],
    pub(super) signature: &'m [u8],
    /// Where in the message the signature begins.
    pub(super) signature_at: usize,
    pub(super) salt: &'m [u8],
    /// Encrypted, or the content of a scoped PDU.
    pub(super) body: &'m [u8],
}

/// A PDU and whom it is about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scoped<'m> {
    pub(super) engine: &'m [u8],
    pub(super) context: &'m [u8],
    pub(super) pdu: Pdu<'m>,
}

impl<'m> Message<'m> {
    /// Nothing where it is no SNMP message.
    pub(super) fn read(bytes: &'m [u8]) -> Option<Self> {
        let mut parts = AsnReader::from_bytes(AsnReader::from_bytes(bytes).read_raw(SEQUENCE).ok()?);
        match parts.read_asn_integer().ok()? {
            V3 => V3Message::read(bytes, parts).map(Self::V3),
            version @ 0..=1 => {
                Some(Self::Community { version, community: parts.read_asn_octetstring().ok()?, pdu: Pdu::read(&mut parts)? })
            }
            _ => None,
        }
    }
}

impl<'m> Pdu<'m> {
    fn read(parts: &mut AsnReader<'m>) -> Option<Self> {
        let tag = parts.peek_byte().ok()?;
        Some(Self { tag, content: parts.read_raw(tag).ok()? })
    }

    /// What acknowledges an inform: the same with another tag, as its errors are zero.
    pub(super) fn acknowledgement(self) -> Self {
        Self { tag: RESPONSE, ..self }
    }

    fn bytes(self) -> Vec<u8> {
        element(self.tag, self.content)
    }
}

impl<'m> V3Message<'m> {
    fn read(bytes: &'m [u8], mut parts: AsnReader<'m>) -> Option<Self> {
        let mut header = AsnReader::from_bytes(parts.read_raw(SEQUENCE).ok()?);
        let id = header.read_asn_integer().ok()?;
        header.read_asn_integer().ok()?;
        let &[flags] = header.read_asn_octetstring().ok()? else { return None };
        if header.read_asn_integer().ok()? != USM {
            return None;
        }
        let security = parts.read_asn_octetstring().ok()?;
        let mut security = AsnReader::from_bytes(AsnReader::from_bytes(security).read_raw(SEQUENCE).ok()?);
        let engine = security.read_asn_octetstring().ok()?;
        let boots = u32::try_from(security.read_asn_integer().ok()?).ok()?;
        let seconds = u32::try_from(security.read_asn_integer().ok()?).ok()?;
        let user = security.read_asn_octetstring().ok()?;
        let signature = security.read_asn_octetstring().ok()?;
        let salt = security.read_asn_octetstring().ok()?;
        let level = Level { auth: flags & AUTH != 0, privacy: flags & PRIVACY != 0 };
        let body = if level.privacy { parts.read_asn_octetstring().ok()? } else { parts.read_raw(SEQUENCE).ok()? };
        // Both point into the same message.
        let signature_at = (signature.as_ptr() as usize).checked_sub(bytes.as_ptr() as usize)?;
        let (moment, reportable) = (Moment { boots, seconds }, flags & REPORTABLE != 0);
        (level.auth || !level.privacy).then_some(Self { id, level, reportable, engine, moment, user, signature, signature_at, salt, body })
    }

    /// Whether it is signed so by this user.
    pub(super) fn is_signed_by(&self, user: &User, bytes: &[u8]) -> bool {
        let mut unsigned = bytes.to_vec();
        let Some(place) = unsigned.get_mut(self.signature_at..self.signature_at + self.signature.len()) else { return false };
        place.fill(0);
        user.verifies(self.engine, &unsigned, self.signature)
    }
}

impl<'m> Scoped<'m> {
    /// From its content.
    pub(super) fn read(content: &'m [u8]) -> Option<Self> {
        let mut parts = AsnReader::from_bytes(content);
        Some(Self { engine: parts.read_asn_octetstring().ok()?, context: parts.read_asn_octetstring().ok()?, pdu: Pdu::read(&mut parts)? })
    }

    /// From what was decrypted. What is left behind it fills the last block of DES.
    pub(super) fn read_element(bytes: &'m [u8]) -> Option<Self> {
        Self::read(AsnReader::from_bytes(bytes).read_raw(SEQUENCE).ok()?)
    }

    fn bytes(&self) -> Vec<u8> {
        elements(SEQUENCE, &[octets(self.engine), octets(self.context), self.pdu.bytes()])
    }
}

/// The acknowledgement of a v2c inform.
pub(super) fn acknowledged(version: i64, community: &[u8], pdu: Pdu<'_>) -> Vec<u8> {
    elements(SEQUENCE, &[number(INTEGER, version), octets(community), pdu.acknowledgement().bytes()])
}

/// This engine at this moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own<'e> {
    pub(super) engine: &'e [u8],
    pub(super) moment: Moment,
    /// One that no other message has.
    pub(super) salt: u64,
}

/// What went wrong, as a report says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stat {
    UnsupportedSecurityLevels = 1,
    NotInTimeWindows = 2,
    UnknownUserNames = 3,
    UnknownEngineIds = 4,
    WrongDigests = 5,
    DecryptionErrors = 6,
}

impl Own<'_> {
    /// A report to the sender of this message; signed where it must be believed, which needs the user.
    pub(super) fn report(&self, to: &V3Message<'_>, stat: Stat, count: u32, user: Option<&User>) -> Option<Vec<u8>> {
        let name = element(OID, &[USM_STATS, &[stat as u8, 0]].concat());
        let varbind = elements(SEQUENCE, &[name, number(COUNTER32, count.into())]);
        // The request that it belongs to may be encrypted, or not even this user's: senders go by the id of the message.
        let request = if to.level.privacy { 0 } else { Scoped::read(to.body).and_then(|scoped| request_id(scoped.pdu)).unwrap_or(0) };
        let content = [number(INTEGER, request), number(INTEGER, 0), number(INTEGER, 0), elements(SEQUENCE, &[varbind])].concat();
        let scoped = Scoped { engine: self.engine, context: &[], pdu: Pdu { tag: REPORT, content: &content } };
        let level = Level { auth: user.is_some(), privacy: false };
        self.message(to.id, level, user, to.user, &scoped)
    }

    /// The acknowledgement of an inform, protected as that was.
    pub(super) fn acknowledge(&self, message: &V3Message<'_>, user: &User, scoped: &Scoped<'_>) -> Option<Vec<u8>> {
        let scoped = Scoped { pdu: scoped.pdu.acknowledgement(), ..*scoped };
        self.message(message.id, message.level, Some(user), &user.name, &scoped)
    }

    pub(super) fn message(&self, id: i64, level: Level, user: Option<&User>, name: &[u8], scoped: &Scoped<'_>) -> Option<Vec<u8>> {
        let flags = if level.auth { AUTH } else { 0 } | if level.privacy { PRIVACY } else { 0 };
        let header = [number(INTEGER, id), number(INTEGER, MAX_MESSAGE), octets(&[flags]), number(INTEGER, USM)];
        let (salt, body) = if level.privacy {
            let salt = self.salt.to_be_bytes();
            (salt.to_vec(), octets(&user?.seal(self.engine, self.moment, salt, &scoped.bytes())?))
        } else {
            (Vec::new(), scoped.bytes())
        };
        let whole = |signature: &[u8]| {
            let engine = [octets(self.engine), number(INTEGER, self.moment.boots.into()), number(INTEGER, self.moment.seconds.into())];
            let security = elements(SEQUENCE, &[engine.concat(), octets(name), octets(signature), octets(&salt)]);
            elements(SEQUENCE, &[number(INTEGER, V3), elements(SEQUENCE, &header), octets(&security), body.clone()])
        };
        let Some(user) = user.filter(|_| level.auth) else { return Some(whole(&[])) };
        let signature = user.sign(self.engine, &whole(&vec![0; user.signature_bytes()]));
        Some(whole(&signature))
    }
}

/// The id of the request in a PDU.
pub(super) fn request_id(pdu: Pdu<'_>) -> Option<i64> {
    AsnReader::from_bytes(pdu.content).read_asn_integer().ok()
}
