//! Scopes: what the holder of an API key may do.
//!
//! Invariant: files and tables have the words, so a scope's bit may change with a release.

use std::fmt;

macro_rules! scopes {
    ($($(#[$doc:meta])* $Scope:ident = $bit:literal, $word:literal;)*) => {
        /// One thing that a key may do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Scope { $($(#[$doc])* $Scope = $bit,)* }

        impl Scope {
            /// Every scope.
            pub const ALL: &'static [Scope] = &[$(Scope::$Scope,)*];

            /// The word in files, tables and requests.
            pub fn word(self) -> &'static str {
                match self { $(Scope::$Scope => $word,)* }
            }
        }
    };
}

scopes! {
    /// Publish messages.
    Publish = 0, "publish";
    /// List rooms, and read their state, history and viewers.
    RoomsRead = 1, "rooms:read";
    /// Make, configure, open, close and remove rooms, and set their state.
    RoomsWrite = 2, "rooms:write";
    /// Moderate: sessions, bans and revocations.
    Mod = 3, "mod";
    /// Read the guide.
    GuideRead = 4, "guide:read";
    /// Change the guide.
    GuideWrite = 5, "guide:write";
    /// Upload pictures, and make previews.
    Uploads = 6, "uploads";
    /// Make and revoke keys, and read the node's status.
    Admin = 7, "admin";
    /// Drain the node.
    Drain = 8, "drain";
    /// Make backups.
    Backups = 9, "backups";
    /// Manage webhooks.
    Webhooks = 10, "webhooks";
}

impl Scope {
    /// The scope of this word.
    pub fn from_word(word: &str) -> Option<Scope> {
        Scope::ALL.iter().copied().find(|scope| scope.word() == word)
    }
}

/// Several scopes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes(u32);

impl Scopes {
    /// With this one too.
    #[must_use]
    pub fn with(self, scope: Scope) -> Scopes {
        Scopes(self.0 | 1 << scope as u8)
    }

    /// Is this one among them?
    pub fn has(self, scope: Scope) -> bool {
        self.0 & 1 << scope as u8 != 0
    }

    /// Are all of these among them?
    pub fn include(self, others: Scopes) -> bool {
        self.0 & others.0 == others.0
    }

    /// Their words.
    pub fn words(self) -> Vec<&'static str> {
        Scope::ALL.iter().filter(|scope| self.has(**scope)).map(|scope| scope.word()).collect()
    }

    /// From words.
    ///
    /// # Errors
    /// A word names no scope; the text lists those that do.
    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Scopes, String> {
        words.into_iter().try_fold(Scopes::default(), |scopes, word| match Scope::from_word(word) {
            Some(scope) => Ok(scopes.with(scope)),
            None => {
                let all: Vec<_> = Scope::ALL.iter().map(|scope| scope.word()).collect();
                Err(format!("got the scope {word:?}, expected some of {}", all.join(", ")))
            }
        })
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Scopes {
        scopes.into_iter().fold(Scopes::default(), Scopes::with)
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(" "))
    }
}
