#include "coordinator/chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace musher {
namespace {

// In CSS pixels.
constexpr double kWidth = 680;
constexpr double kHeight = 300;
constexpr double kLeft = 72;
constexpr double kRight = kWidth - 16;
constexpr double kTop = 48;
constexpr double kBottom = kHeight - 44;
constexpr int kTicks = 5;
constexpr double kBarHeight = 18;
constexpr double kBarGap = 8;
constexpr double kBarLeft = 90;

// Told apart by people who see few colours too (Wong, "Color blindness", Nature Methods 2011).
constexpr std::array<const char*, 7> kColors = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                "#e69f00", "#56b4e9", "#7f7f7f"};

const char* color(std::size_t index) {
  return kColors[index % kColors.size()];
}

std::string text_at(double x, double y, const char* anchor, const std::string& text,
                    const char* kind = "") {
  return fmt::format(R"(<text x="{:.1f}" y="{:.1f}" text-anchor="{}"{}>{}</text>)", x, y, anchor,
                     kind, html_escaped(text));
}

/// What a plane of values is to the pixels of the plot.
struct Plane {
  Axis x;
  Axis y;
  double left(double value) const {
    return kLeft + (value - x.low) / (x.high - x.low) * (kRight - kLeft);
  }
  double top(double value) const {
    return kBottom - (value - y.low) / (y.high - y.low) * (kBottom - kTop);
  }
};

Plane plane_of(const std::vector<Series>& series) {
  constexpr double kNone = std::numeric_limits<double>::infinity();
  double low_x = kNone, high_x = -kNone, low_y = kNone, high_y = -kNone;
  for (const Series& one : series) {
    for (const auto& [x, y] : one.points) {
      if (!std::isfinite(y)) continue;
      low_x = std::min(low_x, x);
      high_x = std::max(high_x, x);
      low_y = std::min(low_y, y);
      high_y = std::max(high_y, y);
    }
  }
  return {axis_for(low_x, high_x), axis_for(low_y, high_y)};
}

std::string grid(const Plane& plane, const std::string& x_label) {
  std::string svg =
      fmt::format(R"(<rect class="plot" x="{}" y="{}" width="{}" height="{}" fill="#f6f8fb"/>)",
                  kLeft, kTop, kRight - kLeft, kBottom - kTop);
  const auto ticks = [](const Axis& axis) {
    return static_cast<int>(std::lround((axis.high - axis.low) / axis.step));
  };
  for (int i = 0; i <= ticks(plane.y); ++i) {
    const double value = plane.y.low + i * plane.y.step;
    const double top = plane.top(value);
    svg += fmt::format(R"(<path d="M{} {:.1f}H{}" stroke="#d5dbe3"/>)", kLeft, top, kRight);
    svg += text_at(kLeft - 6, top + 4, "end", fmt::format("{:.6g}", value));
  }
  for (int i = 0; i <= ticks(plane.x); ++i) {
    const double value = plane.x.low + i * plane.x.step;
    svg += text_at(plane.left(value), kBottom + 16, "middle", fmt::format("{:.6g}", value));
  }
  return svg + text_at((kLeft + kRight) / 2, kBottom + 34, "middle", x_label);
}

std::string legend(const std::vector<std::string>& names, double left, double top) {
  std::string svg;
  for (std::size_t i = 0; i < names.size(); ++i) {
    svg += fmt::format(R"(<rect x="{:.1f}" y="{:.1f}" width="10" height="10" fill="{}"/>)", left,
                       top - 9, color(i));
    svg += text_at(left + 14, top, "start", names[i]);
    left += 30 + 7.0 * static_cast<double>(names[i].size());
  }
  return svg;
}

/// The least and the greatest of each pixel's width, in the order in which they come.
std::vector<std::pair<double, double>> thinned(const std::vector<std::pair<double, double>>& points,
                                               const Plane& plane) {
  if (points.size() <= static_cast<std::size_t>(2 * (kRight - kLeft))) return points;
  std::vector<std::pair<double, double>> result;
  for (std::size_t begin = 0; begin < points.size();) {
    const double pixel = std::floor(plane.left(points[begin].first));
    std::size_t least = begin, greatest = begin, end = begin;
    for (; end < points.size() && std::floor(plane.left(points[end].first)) == pixel; ++end) {
      if (points[end].second < points[least].second) least = end;
      if (points[end].second > points[greatest].second) greatest = end;
    }
    result.push_back(points[std::min(least, greatest)]);
    if (least != greatest) result.push_back(points[std::max(least, greatest)]);
    begin = end;
  }
  return result;
}

std::string line(const Series& series, const Plane& plane, const char* stroke) {
  std::string path;
  std::string dots;
  bool pen_down = false;
  const auto points = thinned(series.points, plane);
  for (const auto& [x, y] : points) {
    if (!std::isfinite(y)) {
      pen_down = false;
      continue;
    }
    path += fmt::format("{}{:.2f} {:.2f}", pen_down ? "L" : "M", plane.left(x), plane.top(y));
    pen_down = true;
    if (points.size() > 60) continue;
    dots += fmt::format(R"(<circle cx="{:.2f}" cy="{:.2f}" r="3" fill="{}"/>)", plane.left(x),
                        plane.top(y), stroke);
  }
  return fmt::format(R"(<path d="{}" fill="none" stroke="{}" stroke-width="2"/>)", path, stroke) +
         dots;
}

std::vector<std::string> names_of(const std::vector<Series>& series) {
  std::vector<std::string> names;
  for (const Series& one : series) names.push_back(one.name);
  return names;
}

}  // namespace

std::string html_escaped(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
  }
  return escaped;
}

Axis axis_for(double low, double high) {
  if (!(low <= high)) return {};  // no value
  if (low == high) {
    const double room = low == 0 ? 1 : std::abs(low) / 2;
    low -= room;
    high += room;
  }
  const double rough = (high - low) / kTicks;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough) {
      step = factor * power;
      break;
    }
  }
  return {std::floor(low / step) * step, std::ceil(high / step) * step, step};
}

std::string line_chart(const std::string& title, const std::string& x_label,
                       const std::vector<Series>& series, const std::vector<double>& marks) {
  const Plane plane = plane_of(series);
  std::string svg = fmt::format(
      R"(<svg class="chart" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" )"
      R"(aria-label="{2}" data-x="{3} {4}" data-y="{5} {6}">)",
      kWidth, kHeight, html_escaped(title), plane.x.low, plane.x.high, plane.y.low, plane.y.high);
  svg += text_at(kLeft, 18, "start", title, R"( class="title")");
  svg += legend(names_of(series), kLeft, 38);
  svg += grid(plane, x_label);
  for (const double mark : marks) {
    if (mark < plane.x.low || mark > plane.x.high) continue;
    svg += fmt::format(R"(<path d="M{:.1f} {}V{}" stroke="#b00020" stroke-dasharray="3 3"/>)",
                       plane.left(mark), kTop, kBottom);
  }
  for (std::size_t i = 0; i < series.size(); ++i) svg += line(series[i], plane, color(i));
  return svg + "</svg>\n";
}

std::string stacked_bars(const std::string& title, const std::string& unit,
                         const std::vector<std::string>& parts, const std::vector<BarRow>& rows) {
  double most = 0;
  for (const BarRow& row : rows) {
    double sum = 0;
    for (const double part : row.parts) sum += part;
    most = std::max(most, sum);
  }
  const double bottom = kTop + static_cast<double>(rows.size()) * (kBarHeight + kBarGap);
  std::string svg =
      fmt::format(R"(<svg class="bars" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" )"
                  R"(aria-label="{2}" data-x="0 {3}">)",
                  kWidth, bottom + 8, html_escaped(title), most);
  svg += text_at(kLeft, 18, "start", title, R"( class="title")");
  svg += legend(parts, kLeft, 38);
  double top = kTop;
  for (const BarRow& row : rows) {
    svg += text_at(kBarLeft - 6, top + 13, "end", row.name);
    double left = kBarLeft;
    double sum = 0;
    for (std::size_t i = 0; i < row.parts.size() && most > 0; ++i) {
      const double width = row.parts[i] / most * (kRight - kBarLeft - 70);
      svg += fmt::format(
          R"(<rect x="{:.2f}" y="{:.1f}" width="{:.2f}" height="{}" fill="{}"><title>{}: {:.4g} {}</title></rect>)",
          left, top, width, kBarHeight, color(i), html_escaped(parts.at(i)), row.parts[i], unit);
      left += width;
      sum += row.parts[i];
    }
    svg += text_at(left + 6, top + 13, "start", fmt::format("{:.4g} {}", sum, unit));
    top += kBarHeight + kBarGap;
  }
  return svg + "</svg>\n";
}

}  // namespace musher
