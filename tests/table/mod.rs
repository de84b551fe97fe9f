//! Rows on devices: outputs of instances, views of columns, what stays resident.

mod fixture;
mod loading;
mod output;
mod residency;
