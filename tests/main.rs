//! All tests of Quern in one binary, so that it links once. One folder per
//! layer, named as in `host/src`.

mod tidy;
