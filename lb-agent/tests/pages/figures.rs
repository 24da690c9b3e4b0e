//! docs/figures/*.svg, from the files *.csv beside them: bars, or lines if the file has `# lines: ` with the name of the x axis.

use std::fs;
use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const SIZE: (u32, u32) = (760, 380);

/// Okabe and Ito's palette, which readers with any colour vision can distinguish.
const COLOURS: [RGBColor; 4] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
];

/// A table of numbers: each column is a series, each row a group of bars, or a point of each line.
struct Figure {
    /// The name of the x axis; none: bars.
    lines: Option<String>,
    title: String,
    axis: String,
    /// The page that contains the same numbers in a table.
    page: String,
    series: Vec<String>,
    groups: Vec<(String, Vec<Cell>)>,
}

/// A number, and its spelling in the file.
struct Cell {
    text: String,
    value: f64,
}

impl Figure {
    fn read(text: &str) -> Self {
        let head = |key: &str| {
            let prefix = format!("# {key}: ");
            let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
            line.unwrap_or_else(|| panic!("the line \"{prefix}\" is missing"))
                .to_owned()
        };
        // Plots do not use these columns: they say where the numbers come from.
        for key in ["command", "machine", "date"] {
            head(key);
        }
        let mut rows = text.lines().filter(|line| !line.starts_with('#'));
        let names = rows.next().expect("a line with the names of the series");
        let series: Vec<String> = names.split(',').skip(1).map(str::to_owned).collect();
        let groups: Vec<_> = rows.map(group).collect();
        for (name, cells) in &groups {
            assert_eq!(cells.len(), series.len(), "{name}");
        }
        let lines = text.lines().find_map(|line| line.strip_prefix("# lines: "));
        Self {
            lines: lines.map(str::to_owned),
            title: head("title"),
            axis: head("axis"),
            page: head("page"),
            series,
            groups,
        }
    }

    fn svg(&self) -> String {
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        match &self.lines {
            Some(axis) => self.draw_lines(&area, axis),
            None => self.draw(&area),
        }
        drop(area);
        svg
    }

    fn draw_lines(&self, area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>, axis: &str) {
        area.fill(&WHITE).expect("a string takes it");
        let cells = self.groups.iter().flat_map(|(_, cells)| cells);
        let most = cells.map(|cell| cell.value).fold(0.0, f64::max);
        let x = |name: &str| -> f64 { name.parse().expect("a number") };
        let last = self.groups.last().map_or(0.0, |(name, _)| x(name));
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(
                0.0..last,
                0.0..most * (1.1 + 0.08 * small(self.series.len())),
            )
            .expect("it fits");
        chart
            .configure_mesh()
            .disable_x_mesh()
            .y_labels(6)
            .x_desc(axis)
            .y_desc(&self.axis)
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.15))
            .axis_desc_style(("sans-serif", 14))
            .label_style(("sans-serif", 13))
            .draw()
            .expect("a string takes it");
        for (series, (name, colour)) in self.series.iter().zip(COLOURS).enumerate() {
            let points = self.groups.iter();
            let points: Vec<_> = points
                .map(|(at, cells)| (x(at), cells[series].value))
                .collect();
            let style = colour.stroke_width(2);
            chart
                .draw_series([PathElement::new(points, style)])
                .expect("a string takes it")
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 12, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .label_font(("sans-serif", 13))
            .background_style(WHITE)
            .border_style(BLACK.mix(0.15))
            .draw()
            .expect("a string takes it");
    }

    fn draw(&self, area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>) {
        // A background of its own, so that it is readable on a dark page too.
        area.fill(&WHITE).expect("a string takes it");
        let cells = self.groups.iter().flat_map(|(_, cells)| cells);
        let most = cells.map(|cell| cell.value).fold(0.0, f64::max);
        // Room for the legend above the bars.
        let top = most * (1.1 + 0.08 * small(self.series.len()));
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 18))
            .margin(12)
            .margin_bottom(16)
            .x_label_area_size(28)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..small(self.groups.len()), 0.0..top)
            .expect("it fits");
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .y_labels(6)
            .y_label_formatter(&|value| grouped(&value.to_string()))
            .y_desc(&self.axis)
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.15))
            .axis_desc_style(("sans-serif", 14))
            .label_style(("sans-serif", 13))
            .draw()
            .expect("a string takes it");

        // The bars of a group are side by side and take 0.8 of its width.
        let width = 0.8 / small(self.series.len());
        for (series, (name, colour)) in self.series.iter().zip(COLOURS).enumerate() {
            let left = |group: usize| small(group) + 0.1 + small(series) * width;
            let column = || {
                let cells = self.groups.iter().map(move |(_, cells)| &cells[series]);
                cells.enumerate().map(|(group, cell)| (left(group), cell))
            };
            let bars = column().map(|(left, cell)| {
                let corners = [(left, 0.0), (left + width * 0.94, cell.value)];
                Rectangle::new(corners, colour.filled())
            });
            let legend =
                move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled());
            chart
                .draw_series(bars)
                .expect("a string takes it")
                .label(name)
                .legend(legend);
            let style = text(13, VPos::Bottom);
            let numbers = column().map(|(left, cell)| {
                let number = grouped(&cell.text);
                EmptyElement::at((left + width * 0.47, cell.value))
                    + Text::new(number, (0, -3), style.clone())
            });
            chart.draw_series(numbers).expect("a string takes it");
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .label_font(("sans-serif", 13))
            .background_style(WHITE)
            .border_style(BLACK.mix(0.15))
            .draw()
            .expect("a string takes it");

        for (group, (name, _)) in self.groups.iter().enumerate() {
            let (x, y) = chart
                .plotting_area()
                .map_coordinate(&(small(group) + 0.5, 0.0));
            let label = Text::new(label(name), (x, y + 8), text(14, VPos::Top));
            area.draw(&label).expect("a string takes it");
        }
    }
}

fn group(row: &str) -> (String, Vec<Cell>) {
    let mut cells = row.split(',');
    let name = cells.next().unwrap_or_default().to_owned();
    let cells = cells.map(|cell| Cell {
        text: cell.to_owned(),
        value: cell.parse().expect("a number"),
    });
    (name, cells.collect())
}

fn small(number: usize) -> f64 {
    f64::from(u32::try_from(number).expect("few"))
}

fn text(size: u32, vertical: VPos) -> TextStyle<'static> {
    let style = TextStyle::from(("sans-serif", size).into_font());
    style.pos(Pos::new(HPos::Center, vertical))
}

/// `1000 × 3` is `1,000 × 3` on the pages.
fn label(name: &str) -> String {
    name.split(' ').map(grouped).collect::<Vec<_>>().join(" ")
}

/// `1314` is `1,314` on the pages.
fn grouped(word: &str) -> String {
    let is_whole = word.bytes().all(|byte| byte.is_ascii_digit());
    match word.len().checked_sub(3) {
        Some(split) if is_whole && split > 0 => format!("{},{}", &word[..split], &word[split..]),
        _ => word.to_owned(),
    }
}

/// The names and contents of the files *.csv.
fn figures() -> Vec<(String, Figure)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/figures");
    let files = fs::read_dir(folder).expect("docs/figures can be read");
    let paths = files.map(|file| file.expect("it can be read").path());
    let tables = paths.filter(|path| path.extension().is_some_and(|extension| extension == "csv"));
    let read = tables.map(|path| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let text = fs::read_to_string(&path).expect("it can be read");
        (name.into_owned(), Figure::read(&text))
    });
    let read: Vec<_> = read.collect();
    assert!(!read.is_empty(), "docs/figures has no *.csv");
    read
}

#[test]
fn plots_match_their_files() {
    for (name, figure) in figures() {
        crate::compare(&format!("figures/{name}.svg"), &figure.svg());
    }
}

#[test]
fn a_plot_of_lines_has_one_for_each_series() {
    let figure = Figure::read(
        "# title: Shares\n# axis: %\n# lines: seconds\n# page: -\n# command: -\n# machine: -\n# date: -\n\
         ,random,least-conn\n0,10,12.5\n0.5,20,30\n1,5,0\n",
    );
    let svg = figure.svg();
    for (colour, points) in [(COLOURS[0], 3), (COLOURS[1], 3)] {
        let RGBColor(red, green, blue) = colour;
        let stroke = format!("stroke=\"#{red:02X}{green:02X}{blue:02X}\"");
        let lines: Vec<&str> = svg.lines().filter(|line| line.contains(&stroke)).collect();
        // The other one is in the legend.
        assert_eq!(lines.len(), 2, "{svg}");
        assert!(
            lines.iter().any(|line| line.matches(',').count() == points),
            "{lines:?}"
        );
    }
}

#[test]
fn plot_files_match_the_tables_of_the_pages() {
    for (name, figure) in figures() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        let page = fs::read_to_string(path.join(&figure.page)).expect("the page can be read");
        assert!(page.contains(&format!("figures/{name}.svg")), "{name}");
        // No page has a table of so many numbers.
        if figure.lines.is_some() {
            continue;
        }
        let words: Vec<&str> = page
            .split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ','))
            .map(|word| word.trim_end_matches([',', '.']))
            .collect();
        for cell in figure.groups.iter().flat_map(|(_, cells)| cells) {
            let number = grouped(&cell.text);
            assert!(
                words.contains(&number.as_str()),
                "docs/figures/{name}.csv has {number}, docs/{} has not",
                figure.page
            );
        }
    }
}
