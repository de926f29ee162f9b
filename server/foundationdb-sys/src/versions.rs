//! `if_cfg_api_versions!`, with which the `foundationdb` crate picks code by API version.

/// Compiles its body where the API version (740, always) lies between `min` and `max`, otherwise what follows `else`.
///
/// Upstream derives the version from a feature. Here it is fixed: every version that the `foundationdb` crate names as a minimum is
/// at most 740, and every one that it names as a maximum is below. A version that is in neither list does not compile.
#[macro_export]
macro_rules! if_cfg_api_versions {
    ($(min = $min:tt,)? max = $max:tt => { $($then:tt)* } else { $($other:tt)* }) => {{
        $crate::below_740!($max);
        $($other)*
    }};
    ($(min = $min:tt,)? max = $max:tt => $($then:tt)*) => {
        $crate::below_740!($max);
    };
    (min = $min:tt => { $($then:tt)* } else { $($other:tt)* }) => {{
        $crate::up_to_740!($min);
        $($then)*
    }};
    (min = $min:tt => $($then:tt)*) => {
        $crate::up_to_740!($min);
        $($then)*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! up_to_740 {
    (740) => {};
    ($version:tt) => {
        $crate::below_740!($version);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! below_740 {
    (510) => {};
    (520) => {};
    (600) => {};
    (610) => {};
    (620) => {};
    (630) => {};
    (700) => {};
    (710) => {};
    (730) => {};
}
