//! Pictures of sales, as SVG.
//!
//! Written by hand, because no library for Rust that draws charts leaves colours to a style sheet, which light and dark need, or writes
//! the text alternatives. `picture` puts a report's picture together, [`panel`] draws one of its three diagrams, [`scale`] has
//! the axes, [`series`] what is drawn on them, [`svg`] the elements.

mod panel;
mod picture;
mod scale;
mod series;
mod svg;

pub(crate) use picture::sale_picture;
