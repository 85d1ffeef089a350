//! The user-based security model as its authoritative engine needs it (RFC 3414, 3826, 7860): keys, signatures, encryption. Pure but for
//! the salt that is given to it.
//!
//! snmp2 has all of this as well, but only for a session that asks: it gives an answer the id of its PDU as that of its message, which are
//! two numbers where an inform is acknowledged, and changes what it knows of an engine before it has looked at the signature. The ciphers are
//! those that it brings.

use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{AsyncStreamCipher, BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use des::Des;
use hmac::{Hmac, Mac};
use sha1::Digest;

use crate::config::snmp::{AuthProtocol, Cipher, KeyExtension};

/// Bytes of a password that are hashed to a key: RFC 3414, A.2.
const STRETCHED_BYTES: usize = 1 << 20;
/// Bytes of an AES salt, and of DES.
const SALT_BYTES: usize = 8;

/// A user, with the keys that its passwords give; those of an engine are made from them.
#[derive(Clone)]
pub(super) struct User {
    pub(super) name: Vec<u8>,
    auth: Option<(AuthProtocol, Vec<u8>)>,
    privacy: Option<(Cipher, KeyExtension, Vec<u8>)>,
}

/// How well a message is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) auth: bool,
    pub(super) privacy: bool,
}

/// Which moment of which engine a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) boots: u32,
    pub(super) seconds: u32,
}

impl User {
    /// Takes a millisecond or more: a megabyte is hashed for each password. Neither may be empty.
    pub(super) fn new(name: &str, auth: Option<(AuthProtocol, &str)>, privacy: Option<(Cipher, KeyExtension, &str)>) -> Self {
        let hash = auth.map_or(AuthProtocol::Md5, |(protocol, _)| protocol);
        Self {
            name: name.as_bytes().to_vec(),
            auth: auth.map(|(protocol, password)| (protocol, stretched(protocol, password.as_bytes()))),
            privacy: privacy.map(|(cipher, extension, password)| (cipher, extension, stretched(hash, password.as_bytes()))),
        }
    }

    pub(super) fn level(&self) -> Level {
        Level { auth: self.auth.is_some(), privacy: self.privacy.is_some() }
    }

    /// Bytes of a signature; none without authentication.
    pub(super) fn signature_bytes(&self) -> usize {
        self.auth.as_ref().map_or(0, |(protocol, _)| signature_bytes(*protocol))
    }

    /// Whether a message, whose signature was made zero, is signed so by this user at this engine.
    pub(super) fn verifies(&self, engine: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let Some((protocol, key)) = &self.auth else { return false };
        if signature.len() != signature_bytes(*protocol) {
            return false;
        }
        let key = localized(*protocol, key, engine);
        match protocol {
            AuthProtocol::Md5 => verifies::<Hmac<md5::Md5>>(&key, message, signature),
            AuthProtocol::Sha1 => verifies::<Hmac<sha1::Sha1>>(&key, message, signature),
            AuthProtocol::Sha224 => verifies::<Hmac<sha2_0_10::Sha224>>(&key, message, signature),
            AuthProtocol::Sha256 => verifies::<Hmac<sha2_0_10::Sha256>>(&key, message, signature),
            AuthProtocol::Sha384 => verifies::<Hmac<sha2_0_10::Sha384>>(&key, message, signature),
            AuthProtocol::Sha512 => verifies::<Hmac<sha2_0_10::Sha512>>(&key, message, signature),
        }
    }

    /// The signature of a message in which it is zero.
    pub(super) fn sign(&self, engine: &[u8], message: &[u8]) -> Vec<u8> {
        let Some((protocol, key)) = &self.auth else { return Vec::new() };
        let key = localized(*protocol, key, engine);
        let mut whole = match protocol {
            AuthProtocol::Md5 => mac::<Hmac<md5::Md5>>(&key, message),
            AuthProtocol::Sha1 => mac::<Hmac<sha1::Sha1>>(&key, message),
            AuthProtocol::Sha224 => mac::<Hmac<sha2_0_10::Sha224>>(&key, message),
            AuthProtocol::Sha256 => mac::<Hmac<sha2_0_10::Sha256>>(&key, message),
            AuthProtocol::Sha384 => mac::<Hmac<sha2_0_10::Sha384>>(&key, message),
            AuthProtocol::Sha512 => mac::<Hmac<sha2_0_10::Sha512>>(&key, message),
        };
        whole.truncate(signature_bytes(*protocol));
        whole
    }

    /// Decrypts; nothing where the lengths cannot be right or there is no key.
    pub(super) fn open(&self, engine: &[u8], moment: Moment, salt: &[u8], bytes: &[u8]) -> Option<Vec<u8>> {
        let (cipher, key) = self.privacy_key(engine)?;
        let salt: [u8; SALT_BYTES] = salt.try_into().ok()?;
        let mut bytes = bytes.to_vec();
        let iv = aes_iv(moment, salt);
        match cipher {
            Cipher::Des => {
                let (key, iv) = des_parts(&key, salt)?;
                let length =
                    cbc::Decryptor::<Des>::new_from_slices(&key, &iv).ok()?.decrypt_padded_mut::<NoPadding>(&mut bytes).ok()?.len();
                bytes.truncate(length);
            }
            Cipher::Aes128 => cfb_mode::Decryptor::<Aes128>::new_from_slices(&key, &iv).ok()?.decrypt(&mut bytes),
            Cipher::Aes192 => cfb_mode::Decryptor::<Aes192>::new_from_slices(&key, &iv).ok()?.decrypt(&mut bytes),
            Cipher::Aes256 => cfb_mode::Decryptor::<Aes256>::new_from_slices(&key, &iv).ok()?.decrypt(&mut bytes),
        }
        Some(bytes)
    }

    /// Encrypts with a salt that no other message of this engine has.
    pub(super) fn seal(&self, engine: &[u8], moment: Moment, salt: [u8; SALT_BYTES], bytes: &[u8]) -> Option<Vec<u8>> {
        let (cipher, key) = self.privacy_key(engine)?;
        let mut bytes = bytes.to_vec();
        let iv = aes_iv(moment, salt);
        match cipher {
            Cipher::Des => {
                let (key, iv) = des_parts(&key, salt)?;
                let length = bytes.len().next_multiple_of(8);
                bytes.resize(length, 0);
                cbc::Encryptor::<Des>::new_from_slices(&key, &iv).ok()?.encrypt_padded_mut::<NoPadding>(&mut bytes, length).ok()?;
            }
            Cipher::Aes128 => cfb_mode::Encryptor::<Aes128>::new_from_slices(&key, &iv).ok()?.encrypt(&mut bytes),
            Cipher::Aes192 => cfb_mode::Encryptor::<Aes192>::new_from_slices(&key, &iv).ok()?.encrypt(&mut bytes),
            Cipher::Aes256 => cfb_mode::Encryptor::<Aes256>::new_from_slices(&key, &iv).ok()?.encrypt(&mut bytes),
        }
        Some(bytes)
    }

    fn privacy_key(&self, engine: &[u8]) -> Option<(Cipher, Vec<u8>)> {
        let (cipher, extension, key) = self.privacy.as_ref()?;
        let (hash, _) = self.auth.as_ref()?;
        let mut key = localized(*hash, key, engine);
        while key.len() < key_bytes(*cipher) {
            let more = match extension {
                KeyExtension::Blumenthal => hashed(*hash, &[&key]),
                KeyExtension::Reeder => localized(*hash, &stretched(*hash, &key), engine),
            };
            key.extend(more);
        }
        key.truncate(key_bytes(*cipher));
        Some((*cipher, key))
    }
}

fn signature_bytes(protocol: AuthProtocol) -> usize {
    match protocol {
        AuthProtocol::Md5 | AuthProtocol::Sha1 => 12,
        AuthProtocol::Sha224 => 16,
        AuthProtocol::Sha256 => 24,
        AuthProtocol::Sha384 => 32,
        AuthProtocol::Sha512 => 48,
    }
}

fn key_bytes(cipher: Cipher) -> usize {
    match cipher {
        Cipher::Des | Cipher::Aes128 => 16,
        Cipher::Aes192 => 24,
        Cipher::Aes256 => 32,
    }
}

/// The key of a password, of no engine yet.
fn stretched(protocol: AuthProtocol, password: &[u8]) -> Vec<u8> {
    let long: Vec<u8> = password.iter().copied().cycle().take(STRETCHED_BYTES).collect();
    hashed(protocol, &[&long])
}

/// The key of a user at one engine.
fn localized(protocol: AuthProtocol, key: &[u8], engine: &[u8]) -> Vec<u8> {
    hashed(protocol, &[key, engine, key])
}

fn hashed(protocol: AuthProtocol, parts: &[&[u8]]) -> Vec<u8> {
    fn of<D: Digest>(parts: &[&[u8]]) -> Vec<u8> {
        parts.iter().fold(D::new(), |hash, part| hash.chain_update(part)).finalize().to_vec()
    }
    match protocol {
        AuthProtocol::Md5 => of::<md5::Md5>(parts),
        AuthProtocol::Sha1 => of::<sha1::Sha1>(parts),
        AuthProtocol::Sha224 => of::<sha2_0_10::Sha224>(parts),
        AuthProtocol::Sha256 => of::<sha2_0_10::Sha256>(parts),
        AuthProtocol::Sha384 => of::<sha2_0_10::Sha384>(parts),
        AuthProtocol::Sha512 => of::<sha2_0_10::Sha512>(parts),
    }
}

fn mac<M: Mac + hmac::digest::KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
    <M as Mac>::new_from_slice(key).map(|mac| mac.chain_update(message).finalize().into_bytes().to_vec()).unwrap_or_default()
}

/// Takes as long whatever is wrong.
fn verifies<M: Mac + hmac::digest::KeyInit>(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    <M as Mac>::new_from_slice(key).is_ok_and(|mac| mac.chain_update(message).verify_truncated_left(signature).is_ok())
}

/// RFC 3826, 3.1.2.1.
fn aes_iv(moment: Moment, salt: [u8; SALT_BYTES]) -> Vec<u8> {
    [&moment.boots.to_be_bytes()[..], &moment.seconds.to_be_bytes(), &salt].concat()
}

/// RFC 3414, 8.1.1.1: the key, and what the salt is mixed with.
fn des_parts(key: &[u8], salt: [u8; SALT_BYTES]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (own, rest) = key.split_at_checked(8)?;
    let iv: Vec<u8> = rest.iter().zip(salt).map(|(a, b)| a ^ b).collect();
    (iv.len() == 8).then(|| (own.to_vec(), iv))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// RFC 3414, A.3.1 and A.3.2: "maplesyrup" at the engine 00 … 02.
    #[test]
    fn keys_are_those_of_the_standard() {
        let engine = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
        for (protocol, key, own) in [
            (AuthProtocol::Md5, "9faf3283884e92834ebc9847d8edd963", "526f5eed9fcce26f8964c2930787d82b"),
            (AuthProtocol::Sha1, "9fb5cc0381497b3793528939ff788d5d79145211", "6695febc9288e36282235fc7151f128497b38f3f"),
        ] {
            let master = stretched(protocol, b"maplesyrup");
            assert_eq!(hex(&master), key);
            assert_eq!(hex(&localized(protocol, &master, &engine)), own);
        }
    }

    #[test]
    fn what_is_sealed_opens_again_for_every_pair_and_only_with_its_password() {
        let (engine, moment, salt) = ([0x80, 0, 0x1F, 0x88, 4], Moment { boots: 3, seconds: 70_000 }, [1, 2, 3, 4, 5, 6, 7, 8]);
        let protocols =
            [AuthProtocol::Md5, AuthProtocol::Sha1, AuthProtocol::Sha224, AuthProtocol::Sha256, AuthProtocol::Sha384, AuthProtocol::Sha512];
        for protocol in protocols {
            for cipher in [Cipher::Des, Cipher::Aes128, Cipher::Aes192, Cipher::Aes256] {
                // A key of 20 bytes is too short for two of the ciphers.
                let extensions: &[_] = if protocol == AuthProtocol::Sha1 {
                    &[KeyExtension::Blumenthal, KeyExtension::Reeder]
                } else {
                    &[KeyExtension::Blumenthal]
                };
                for extension in extensions.iter().copied() {
                    let user = |password| User::new("mon", Some((protocol, "authpass12")), Some((cipher, extension, password)));
                    let (right, wrong) = (user("privpass12"), user("privpass13"));
                    let sealed = right.seal(&engine, moment, salt, b"a text of no whole blocks").unwrap();
                    let open = |user: &User| user.open(&engine, moment, &salt, &sealed).unwrap();
                    assert!(open(&right).starts_with(b"a text of no whole blocks"), "{protocol:?} {cipher:?} {extension:?}");
                    assert!(!open(&wrong).starts_with(b"a text"), "{protocol:?} {cipher:?} {extension:?}");
                    assert_eq!(right.open(&engine, moment, &salt[1..], &sealed), None);
                }
            }
            let user = User::new("mon", Some((protocol, "authpass12")), None);
            let signature = user.sign(&engine, b"message");
            assert_eq!(signature.len(), user.signature_bytes());
            assert!(user.verifies(&engine, b"message", &signature), "{protocol:?}");
            assert!(!user.verifies(&engine, b"messagf", &signature) && !user.verifies(&[1], b"message", &signature), "{protocol:?}");
            assert!(!user.verifies(&engine, b"message", &signature[1..]) && !user.verifies(&engine, b"message", &[]), "{protocol:?}");
        }
    }
}
