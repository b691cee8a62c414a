//! Counts: what a run saw, so that a run that saw nothing proves nothing.

macro_rules! counts {
    ($($name:ident),* $(,)?) => {
        /// What a run saw.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[expect(missing_docs, reason = "names say it, and the report prints them")]
        pub struct Counts {
            $(pub $name: u64,)*
        }

        impl Counts {
            /// Names and figures.
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),*]
            }

            /// Add another run's.
            pub fn add(&mut self, other: &Counts) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counts! {
    messages,
    acknowledged_memory,
    acknowledged_disk,
    repeated,
    refused,
    refused_storage,
    gaps,
    omitted,
    resumed,
    resumed_over_power_cut,
    restarted,
    sessions_resumed,
    disconnects,
    past,
    go_aways,
    uncertain,
    claimed,
    handed_over,
    adopted,
    left_out,
    void_records,
}
