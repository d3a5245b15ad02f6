//! One line chart as SVG: a logarithmic scale upwards or one from zero, powers of ten or names along the
//! bottom, and each line's name at its end.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 120.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 56.0;
/// The least distance between two names at the ends of lines.
const NAME_GAP: f64 = 15.0;

/// What stands along the bottom.
#[derive(Debug, Clone, PartialEq)]
pub enum Ticks {
    /// A logarithmic scale.
    Powers,
    /// These names, at 0, 1, 2, …
    Names(Vec<String>),
}

/// The scale upwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upwards {
    /// Logarithmic, for figures that differ by much.
    Powers,
    /// Even and from zero, for ratios.
    FromZero,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Where it goes through, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// One picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// What the bottom counts.
    pub x: String,
    /// What goes upwards.
    pub y: String,
    /// What stands along the bottom.
    pub ticks: Ticks,
    /// The scale upwards.
    pub upwards: Upwards,
    /// The lines.
    pub series: Vec<Series>,
}

/// From figures to places in the picture.
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
    logarithmic_x: bool,
    upwards: Upwards,
}

impl Frame {
    fn of(chart: &Chart) -> Self {
        let points = || chart.series.iter().flat_map(|series| &series.points);
        let logarithmic_x = chart.ticks == Ticks::Powers;
        let x = match &chart.ticks {
            Ticks::Powers => decades(points().map(|(x, _)| *x)),
            Ticks::Names(names) => (0.0, names.len().saturating_sub(1).max(1) as f64),
        };
        let heights = points().map(|(_, y)| *y);
        let y = match chart.upwards {
            Upwards::Powers => decades(heights),
            Upwards::FromZero => (0.0, heights.fold(1.0, f64::max).ceil()),
        };
        Frame { x, y, logarithmic_x, upwards: chart.upwards }
    }

    fn x(&self, x: f64) -> f64 {
        let x = if self.logarithmic_x { log(x) } else { x };
        LEFT + (x - self.x.0) / (self.x.1 - self.x.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, y: f64) -> f64 {
        let y = if self.upwards == Upwards::Powers { log(y) } else { y };
        HEIGHT - BOTTOM - (y - self.y.0) / (self.y.1 - self.y.0) * (HEIGHT - TOP - BOTTOM)
    }
}

impl Chart {
    /// The picture. A writer of strings never fails, so the results of `write!` are of no interest here.
    pub fn svg(&self) -> String {
        let frame = Frame::of(self);
        let mut svg = String::new();
        let _ = writeln!(
            svg,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">
<title>{title}</title>
<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>
<text x="{LEFT}" y="24" font-size="15" font-weight="bold">{title}</text>"#,
            title = escaped(&self.title)
        );
        self.draw_grid(&frame, &mut svg);
        for series in &self.series {
            draw_line(series, &frame, &mut svg);
        }
        self.draw_names(&frame, &mut svg);
        svg.push_str("</svg>\n");
        svg
    }

    fn draw_grid(&self, frame: &Frame, svg: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let heights = match self.upwards {
            Upwards::Powers => ticks(frame.y),
            Upwards::FromZero => (0..=frame.y.1 as u32).map(f64::from).collect(),
        };
        for y in heights {
            let (at, label) = (frame.y(y), number(y));
            let _ = writeln!(svg, r##"<path d="M{LEFT} {at:.1}H{right}" stroke="#ddd"/>"##);
            let _ = writeln!(
                svg,
                r#"<text x="{}" y="{:.1}" text-anchor="end">{label}</text>"#,
                LEFT - 6.0,
                at + 4.0
            );
        }
        let bottom_ticks: Vec<(f64, String)> = match &self.ticks {
            Ticks::Powers => ticks(frame.x).into_iter().map(|x| (x, number(x))).collect(),
            Ticks::Names(names) => {
                names.iter().enumerate().map(|(x, name)| (x as f64, name.clone())).collect()
            }
        };
        for (x, label) in bottom_ticks {
            let at = frame.x(x);
            let _ = writeln!(svg, r##"<path d="M{at:.1} {TOP}V{bottom}" stroke="#eee"/>"##);
            let _ = writeln!(
                svg,
                r#"<text x="{at:.1}" y="{}" text-anchor="middle">{}</text>"#,
                bottom + 18.0,
                escaped(&label)
            );
        }
        let middle = f64::midpoint(LEFT, right);
        let _ = writeln!(
            svg,
            r#"<text x="{middle}" y="{}" text-anchor="middle">{}</text>"#,
            bottom + 40.0,
            escaped(&self.x)
        );
        let height = f64::midpoint(TOP, bottom);
        let turned = format!(r#"transform="rotate(-90 16 {height})""#);
        let _ = writeln!(
            svg,
            r#"<text x="16" y="{height}" text-anchor="middle" {turned}>{}</text>"#,
            escaped(&self.y)
        );
    }

    /// The names stand beside the ends of their lines, moved apart where they would lie on each other.
    fn draw_names(&self, frame: &Frame, svg: &mut String) {
        let end = |series: &Series| series.points.last().map(|(_, y)| frame.y(*y));
        let mut names: Vec<(f64, &str)> =
            self.series.iter().filter_map(|series| Some((end(series)?, series.name.as_str()))).collect();
        names.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut free_from = f64::MIN;
        for (at, name) in names {
            let at = at.max(free_from);
            free_from = at + NAME_GAP;
            let (x, y, color) = (WIDTH - RIGHT + 8.0, at + 4.0, color(name));
            let _ = writeln!(
                svg,
                r#"<text x="{x}" y="{y:.1}" fill="{color}" font-weight="bold">{}</text>"#,
                escaped(name)
            );
        }
    }
}

fn draw_line(series: &Series, frame: &Frame, svg: &mut String) {
    let (color, width) = (color(&series.name), if series.name.starts_with("veche") { 3.0 } else { 1.5 });
    let dash = if series.name == "floor" { r#" stroke-dasharray="5 4""# } else { "" };
    let places: Vec<String> =
        series.points.iter().map(|(x, y)| format!("{:.1},{:.1}", frame.x(*x), frame.y(*y))).collect();
    let all = places.join(" ");
    let _ = writeln!(
        svg,
        r#"<polyline points="{all}" fill="none" stroke="{color}" stroke-width="{width}"{dash}/>"#
    );
    for (x, y) in &series.points {
        let (x, y) = (frame.x(*x), frame.y(*y));
        let _ = writeln!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="{width}" fill="{color}"/>"#);
    }
}

/// Each server has one colour in all pictures.
fn color(name: &str) -> &'static str {
    match name {
        "veche" => "#c0392b",
        "veche-os" => "#e67e22",
        "floor" => "#555555",
        "ngircd" => "#2471a3",
        "inspircd" => "#138d75",
        "ergo" => "#7d3c98",
        "nats" => "#27ae60",
        _ => "#8d6e63",
    }
}

/// The whole powers of ten around these figures.
fn decades(figures: impl Iterator<Item = f64>) -> (f64, f64) {
    let (least, most) = figures
        .map(log)
        .fold((f64::MAX, f64::MIN), |(least, most), figure| (least.min(figure), most.max(figure)));
    if least > most {
        return (0.0, 1.0);
    }
    (least.floor(), most.ceil().max(least.floor() + 1.0))
}

/// A figure of 0 stands at the bottom of what can be told apart.
fn log(figure: f64) -> f64 {
    figure.max(1e-4).log10()
}

fn ticks((low, high): (f64, f64)) -> Vec<f64> {
    (low as i32..=high as i32).map(|power| 10_f64.powi(power)).collect()
}

fn number(figure: f64) -> String {
    if figure >= 1_000_000.0 { format!("{} million", figure / 1e6) } else { format!("{figure}") }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_inside_and_named() {
        let series =
            |name: &str, y: f64| Series { name: name.into(), points: vec![(10.0, y), (9_000.0, y * 3.0)] };
        for upwards in [Upwards::Powers, Upwards::FromZero] {
            let chart = Chart {
                title: "a < b".into(),
                x: "x".into(),
                y: "y".into(),
                ticks: Ticks::Powers,
                upwards,
                series: vec![series("veche", 0.3), series("floor", 0.7)],
            };
            let frame = Frame::of(&chart);
            for (x, y) in chart.series.iter().flat_map(|series| &series.points) {
                assert!(
                    (LEFT..=WIDTH - RIGHT).contains(&frame.x(*x))
                        && (TOP..=HEIGHT - BOTTOM).contains(&frame.y(*y))
                );
            }
            let svg = chart.svg();
            assert!(
                svg.contains("a &lt; b") && svg.contains(">veche</text>") && svg.contains(">floor</text>")
            );
            assert_eq!(svg.matches("<polyline").count(), 2);
        }
    }

    #[test]
    fn no_figures_make_an_empty_frame() {
        assert_eq!(decades(std::iter::empty()), (0.0, 1.0));
        assert_eq!(decades([0.0].into_iter()), (-4.0, -3.0));
    }
}
