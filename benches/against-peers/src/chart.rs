//! What came of it as a picture: a bar for each subject in its best configuration, on a logarithmic
//! scale.

use std::fmt::Write;

use crate::{best::best_row, rounds::Row, subjects::Subject, works::Work};

/// Pixels.
const LEFT: f64 = 120.0;
const SCALE: f64 = 620.0;
const RIGHT: f64 = 160.0;
const TOP: f64 = 40.0;
const TITLE: f64 = 24.0;
const BAR: f64 = 15.0;
const GAP: f64 = 10.0;

/// Powers of ten at the two ends of the scale, as far as the values need.
#[derive(Clone, Copy)]
struct Scale {
    first: i32,
    last: i32,
}

impl Scale {
    fn of(values: &[f64]) -> Self {
        let exponents = || values.iter().map(|value| value.max(1e-3).log10());
        let first = exponents().fold(f64::INFINITY, f64::min).floor();
        let last = exponents().fold(f64::NEG_INFINITY, f64::max).ceil();
        if values.is_empty() {
            return Scale { first: 0, last: 1 };
        }
        Scale { first: first as i32, last: (last as i32).max(first as i32 + 1) }
    }

    fn x(self, value: f64) -> f64 {
        let part =
            (value.max(1e-3).log10() - f64::from(self.first)) / f64::from(self.last - self.first);
        LEFT + SCALE * part
    }
}

/// The bars of one work.
struct Group<'a> {
    work: Work,
    bars: Vec<(&'a Row, f64)>,
}

/// The picture, as SVG.
pub(crate) fn draw(rows: &[Row]) -> String {
    let groups: Vec<Group> = Work::ALL.into_iter().filter_map(|work| group(rows, work)).collect();
    let bars = groups.iter().flat_map(|group| &group.bars);
    let scale = Scale::of(&bars.map(|(_, value)| *value).collect::<Vec<_>>());
    let height = groups.iter().fold(TOP, |height, group| height + group.height());
    let mut svg = String::new();
    let width = LEFT + SCALE + RIGHT;
    push(
        &mut svg,
        &format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">"#
        ),
    );
    push(&mut svg, &format!(r#"<rect width="{width}" height="{height}" fill="white"/>"#));
    push_grid(&mut svg, scale, height);
    let mut y = TOP;
    for group in &groups {
        push_group(&mut svg, scale, group, y);
        y += group.height();
    }
    push(&mut svg, "</svg>");
    svg
}

impl Group<'_> {
    fn height(&self) -> f64 {
        TITLE + self.bars.len() as f64 * BAR + GAP
    }
}

fn group(rows: &[Row], work: Work) -> Option<Group<'_>> {
    let best = |subject| best_row(rows, work, |other| other == subject);
    let bars = Subject::ALL.into_iter().filter_map(best);
    let bars: Vec<_> = bars.filter_map(|row| Some((row, row.cost()?.median))).collect();
    (!bars.is_empty()).then_some(Group { work, bars })
}

fn push_grid(svg: &mut String, scale: Scale, height: f64) {
    for exponent in scale.first..=scale.last {
        let x = scale.x(10_f64.powi(exponent));
        push(
            svg,
            &format!(r##"<line x1="{x:.1}" y1="24" x2="{x:.1}" y2="{height}" stroke="#dddddd"/>"##),
        );
        let label = number(10_f64.powi(exponent));
        push(svg, &format!(r#"<text x="{x:.1}" y="16" text-anchor="middle">{label}</text>"#));
    }
}

fn push_group(svg: &mut String, scale: Scale, group: &Group, top: f64) {
    let what = if group.work.counts_bytes() { "bytes" } else { "ns" };
    let title = format!("{}: {what} for each {}, less is better", group.work, group.work.unit());
    push(
        svg,
        &format!(
            r#"<text x="{LEFT}" y="{:.1}" font-weight="bold">{title}</text>"#,
            top + TITLE - 8.0
        ),
    );
    for (place, (row, value)) in group.bars.iter().enumerate() {
        let y = top + TITLE + place as f64 * BAR;
        let (end, base) = (scale.x(*value), y + BAR - 4.0);
        push(
            svg,
            &format!(
                r#"<text x="{:.1}" y="{base:.1}" text-anchor="end">{}</text>"#,
                LEFT - 6.0,
                row.subject
            ),
        );
        push(
            svg,
            &format!(
                r#"<rect x="{LEFT}" y="{:.1}" width="{:.1}" height="{:.1}" fill="{}"/>"#,
                y + 1.0,
                (end - LEFT).max(1.0),
                BAR - 3.0,
                color(row.subject)
            ),
        );
        push(
            svg,
            &format!(
                r#"<text x="{:.1}" y="{base:.1}">{} ({})</text>"#,
                end + 5.0,
                number(*value),
                row.config.name
            ),
        );
    }
}

fn color(subject: Subject) -> &'static str {
    match subject {
        Subject::Annulus => "#d1495b",
        Subject::TokioMpsc => "#8d99ae",
        Subject::IoUring => "#bbbbbb",
        _ => "#30638e",
    }
}

/// A number with as many places as tell something.
fn number(value: f64) -> String {
    if value >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

fn push(svg: &mut String, line: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(svg, "{line}");
}
