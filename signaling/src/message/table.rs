//! Makes an enum of messages, and what there is to know about all of them, from one table.

/// Reads a table of messages: channels, and in each the variants with their data and wire type. `typed` makes the enum with
/// its lists of types, `decoded` what reads one by its type.
macro_rules! messages {
    ([$($part:ident),*] $table:tt) => {
        $(messages!(@$part $table);)*
    };
    (@typed {
        $(#[$about:meta])*
        $name:ident {
            $($channel:ident {
                $($(#[$doc:meta])* $variant:ident($data:ty) = $kind:literal,)*
            })*
        }
    }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(tag = "type", content = "data")]
        pub enum $name {
            $($($(#[$doc])* #[serde(rename = $kind)] $variant($data),)*)*
        }

        impl $name {
            /// Every wire type.
            pub const TYPES: &[&str] = &[$($($kind,)*)*];

            /// The same by the kind of channel that they belong to; `connection` for what is about none.
            pub const BY_CHANNEL: &[(&str, &[&str])] =
                &[$((stringify!($channel), &[$($kind,)*]),)*];

            /// The wire type.
            #[must_use]
            pub fn kind(&self) -> &'static str {
                match self {
                    $($(Self::$variant(_) => $kind,)*)*
                }
            }
        }
    };
    (@decoded {
        $(#[$about:meta])*
        $name:ident {
            $($channel:ident {
                $($(#[$doc:meta])* $variant:ident($data:ty) = $kind:literal,)*
            })*
        }
    }) => {
        impl $name {
            /// Reads the `data` of a message of type `kind`. Fields that are not known are ignored.
            ///
            /// # Errors
            /// `unknown_type`, or `invalid_field` naming the field and what was expected.
            pub fn decode(kind: &str, data: Value) -> Result<Self, Error> {
                match kind {
                    $($($kind => fields(data).map(Self::$variant),)*)*
                    _ => Err(unknown_type(kind)),
                }
            }
        }
    };
}

pub(super) use messages;
