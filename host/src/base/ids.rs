//! Numbers that name things, each its own type so that they cannot be mixed up.

/// Declares an id type over `u64`.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A run, counted from 1 in its folder.
    RunId
);
id!(
    /// A committed state of all tables; later ones are greater.
    SnapshotId
);
id!(
    /// A table; a table dropped and created again has another.
    TableId
);
