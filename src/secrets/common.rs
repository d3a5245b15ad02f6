//! Passwords that anybody guesses first.
//!
//! An import cannot see passwords, only their MD5 hashes; but whoever finds one of these knows what it is of.

use std::collections::HashSet;

use super::password::Md5Hex;

/// The commonest passwords of many leaked lists, and what people type into empty fields.
const PASSWORDS: &str = "123456 password 12345678 qwerty 123456789 12345 1234 111111 1234567 dragon 123123 baseball abc123 \
    football monkey letmein 696969 shadow master 666666 qwertyuiop 123321 mustang 1234567890 michael 654321 \
    superman 1qaz2wsx 7777777 121212 000000 qazwsx 123qwe killer trustno1 jordan jennifer zxcvbnm asdfgh hunter \
    buster soccer harley batman andrew tigger sunshine iloveyou charlie robert thomas hockey ranger daniel \
    starwars 112233 george computer michelle jessica pepper 1111 zxcvbn 555555 11111111 131313 freedom 777777 \
    pass maggie 159753 aaaaaa ginger princess joshua cheese amanda summer love ashley nicole chelsea matthew \
    access yankees 987654321 dallas austin thunder taylor matrix admin root welcome login passw0rd Password \
    Password1 password1 password123 qwerty123 1q2w3e4r 1q2w3e test guest changeme secret hello default user \
    P@ssw0rd 0000 123 1 a йцукен пароль qwe123 1q2w3e4r5t 88888888 hallo passwort motdepasse";

/// The hashes of `PASSWORDS`, to look for one among them.
#[derive(Debug)]
pub struct CommonPasswords(HashSet<String>);

impl CommonPasswords {
    /// Hashes them all, which is quickly done.
    pub fn new() -> Self {
        let odd = [" ", "\n", "\r\n"];
        let all = PASSWORDS.split_whitespace().chain(odd);
        CommonPasswords(all.map(|text| Md5Hex::of_text(text).expose().to_owned()).collect())
    }

    /// Whether this is the hash of one of them.
    pub fn have(&self, md5: &Md5Hex) -> bool {
        self.0.contains(md5.expose())
    }
}

impl Default for CommonPasswords {
    fn default() -> Self {
        CommonPasswords::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everybody_knows_is_known() {
        let common = CommonPasswords::new();
        assert!(common.0.len() > 100);
        // echo -n password | md5sum, and echo | md5sum
        for hash in ["5f4dcc3b5aa765d61d8327deb882cf99", "68b329da9893e34099c7d8ad5cb9c940"] {
            assert!(common.have(&Md5Hex::parse(hash).expect("hex digits")), "{hash}");
        }
        assert!(!common.have(&Md5Hex::of_text("correct horse battery staple")));
    }
}
