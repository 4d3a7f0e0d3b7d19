//! How configurations with public fields are set, one after the other.

/// A method for each of the fields, which sets it and hands the rest on.
macro_rules! setters {
    ($config:ty { $($name:ident: $type:ty),* $(,)? }) => {
        impl $config {
            $(
                #[doc = concat!("Sets [`", stringify!($name), "`](Self#structfield.", stringify!($name), ").")]
                #[must_use]
                pub fn $name(mut self, value: $type) -> Self {
                    self.$name = value.into();
                    self
                }
            )*
        }
    };
}
