#pragma once

#include <string>
#include <utility>
#include <vector>

/// Charts as inline SVG for a page that is read without network. Pure.
namespace musher {

/// `&`, `<`, `>` and quotes as HTML has them: for text between tags and in attributes. Control
/// characters become spaces.
std::string html_escaped(const std::string& text);

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;  ///< (x, y), ascending in x
};

/// An axis from `low` to `high` with a tick each `step`: round numbers that hold all that is given.
struct Axis {
  double low = 0;
  double high = 1;
  double step = 0.2;
};
Axis axis_for(double low, double high);

/// Lines over a common x axis, with ticks, a legend, and a mark at each of `marks`. Values that are
/// not finite are gaps; of more points than pixels the least and the greatest of each pixel are
/// drawn. `data-x` and `data-y` of the svg element are the ends of its axes, and the rectangle of
/// class `plot` is what they span.
std::string line_chart(const std::string& title, const std::string& x_label,
                       const std::vector<Series>& series, const std::vector<double>& marks);

/// One horizontal bar a row, made of the same parts in each.
struct BarRow {
  std::string name;
  std::vector<double> parts;  ///< not negative
};
std::string stacked_bars(const std::string& title, const std::string& unit,
                         const std::vector<std::string>& parts, const std::vector<BarRow>& rows);

}  // namespace musher
