#include "tools/svg_chart.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "engine/utf8.h"

namespace tern {
namespace {

// Units of the view box. Narrow, so that text stays readable where a telephone shrinks it.
constexpr double kWidth = 420.0, kHeight = 250.0;
constexpr double kLeft = 46.0, kRight = 12.0, kTop = 30.0, kBottom = 42.0;
constexpr int kColours = 4;  // classes c0 to c3

std::string Text(double x, double y, std::string_view anchor, std::string_view text) {
  return "<text x=\"" + Fixed(x, 1) + "\" y=\"" + Fixed(y, 1) + "\" text-anchor=\"" +
         std::string(anchor) + "\">" + EscapeHtml(text) + "</text>";
}

std::string Line(double x1, double y1, double x2, double y2, std::string_view style) {
  return "<line class=\"" + std::string(style) + "\" x1=\"" + Fixed(x1, 1) + "\" y1=\"" +
         Fixed(y1, 1) + "\" x2=\"" + Fixed(x2, 1) + "\" y2=\"" + Fixed(y2, 1) + "\"/>";
}

std::string Rect(double x, double y, double width, double height, std::string_view style) {
  return "<rect class=\"" + std::string(style) + "\" x=\"" + Fixed(x, 1) + "\" y=\"" + Fixed(y, 1) +
         "\" width=\"" + Fixed(std::max(width, 0.0), 1) + "\" height=\"" +
         Fixed(std::max(height, 0.0), 1) + "\"/>";
}

std::string Colour(size_t i) { return "c" + std::to_string(i % kColours); }

std::string Open(double height, const std::string& title) {
  return "<svg viewBox=\"0 0 " + Fixed(kWidth, 0) + " " + Fixed(height, 0) +
         "\" role=\"img\" aria-label=\"" + EscapeHtml(title) + "\">";
}

// A step of 1, 2 or 5 times a power of ten: 3 to 6 of them make `span`.
double TickStep(double span) {
  const double power = std::pow(10.0, std::floor(std::log10(span / 3.0)));
  for (const double factor : {1.0, 2.0, 5.0, 10.0}) {
    if (span / (factor * power) <= 6.0) return factor * power;
  }
  return 10.0 * power;
}

int DigitsFor(double step) {
  return std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 6);
}

// Where values lie in the drawing; y begins at 0.
class Plane {
 public:
  Plane(double x_first, double x_last, double y_last)
      : x_first_(x_first), x_last_(x_last > x_first ? x_last : x_first + 1.0) {
    y_step_ = TickStep(y_last > 0.0 ? y_last : 1.0);
    y_last_ = std::ceil((y_last > 0.0 ? y_last : 1.0) / y_step_ - 1e-9) * y_step_;
  }
  double X(double x) const {
    return kLeft + (x - x_first_) / (x_last_ - x_first_) * (kWidth - kLeft - kRight);
  }
  double Y(double y) const { return kHeight - kBottom - y / y_last_ * (kHeight - kTop - kBottom); }
  std::string Frame(const ChartAxes& axes) const {
    std::string svg;
    for (int i = 0; i * y_step_ <= y_last_ * (1.0 + 1e-9); ++i) {
      const double y = i * y_step_;
      svg += Line(kLeft, Y(y), kWidth - kRight, Y(y), "grid");
      svg += Text(kLeft - 6.0, Y(y) + 4.0, "end",
                  axes.percent ? Fixed(100.0 * y, DigitsFor(100.0 * y_step_)) + "%"
                               : Fixed(y, DigitsFor(y_step_)));
    }
    svg += Text(0.0, 12.0, "start", axes.y);
    return svg + Text(kWidth - kRight, kHeight - 6.0, "end", axes.x);
  }
  std::string XTicks() const {
    std::string svg;
    const double step = TickStep(x_last_ - x_first_);
    for (double x = std::ceil(x_first_ / step) * step; x <= x_last_ + step * 1e-6; x += step)
      svg += Text(X(x), kHeight - kBottom + 16.0, "middle", Fixed(x, DigitsFor(step)));
    return svg;
  }

 private:
  double x_first_, x_last_, y_step_, y_last_;
};

// Names behind squares of their colours, as HTML above the drawing: it wraps where SVG does not.
std::string Legend(const std::vector<std::string>& names) {
  if (names.size() < 2) return {};
  std::string html = "<p class=\"legend\">";
  for (size_t i = 0; i < names.size(); ++i) {
    html += "<span><i class=\"" + Colour(i) + "\"></i>" + EscapeHtml(names[i]) + "</span> ";
  }
  return html + "</p>";
}

std::string Draw(const ChartLine& line, size_t colour, const Plane& plane) {
  std::string svg, points;
  for (const ChartPoint& point : line.points) {
    const std::string x = Fixed(plane.X(point.x), 1), y = Fixed(plane.Y(point.y), 1);
    points += (points.empty() ? "" : " ") + x + "," + y;
    if (line.dots)
      svg += "<circle class=\"" + Colour(colour) + "\" cx=\"" + x + "\" cy=\"" + y + "\" r=\"4\"/>";
  }
  if (line.dots) return svg;
  return "<polyline class=\"" + Colour(colour) + (line.faint ? " faint" : "") + "\" points=\"" +
         points + "\"/>";
}

}  // namespace

std::string EscapeHtml(std::string_view text) {
  constexpr std::string_view kUnknown = "\xEF\xBF\xBD";
  std::string html;
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    const std::string_view character = text.substr(0, std::max<size_t>(length, 1));
    text.remove_prefix(character.size());
    const auto first = static_cast<unsigned char>(character.front());
    if (length == 0 || (first < 0x20 && first != '\n' && first != '\t') || first == 0x7F ||
        character == "\xEF\xBF\xBE" || character == "\xEF\xBF\xBF") {
      html += kUnknown;
    } else if (first == '<') {
      html += "&lt;";
    } else if (first == '>') {
      html += "&gt;";
    } else if (first == '&') {
      html += "&amp;";
    } else if (first == '"') {
      html += "&quot;";
    } else if (first == '\'') {
      html += "&#39;";
    } else {
      html += character;
    }
  }
  return html;
}

std::string Fixed(double value, int digits) {
  if (!std::isfinite(value)) return "-";
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", digits, std::abs(value) < 1e15 ? value : 0.0);
  return text;
}

std::string LineChart(const ChartAxes& axes, const std::vector<ChartLine>& lines) {
  std::vector<ChartLine> drawn;
  std::vector<std::string> names;
  double x_first = 1e300, x_last = axes.x_most, y_last = 0.0;
  for (const ChartLine& line : lines) {
    ChartLine& kept = drawn.emplace_back(line);
    std::erase_if(kept.points, [](const ChartPoint& point) {
      return !std::isfinite(point.x) || !std::isfinite(point.y);
    });
    names.push_back(line.name);
    for (const ChartPoint& point : kept.points) {
      x_first = std::min(x_first, point.x);
      x_last = std::max(x_last, point.x);
      y_last = std::max(y_last, point.y);
    }
  }
  if (x_first > x_last) return {};
  const Plane plane(x_first, x_last, axes.percent ? std::min(y_last, 1.0) : y_last);
  std::string svg = Legend(names) + Open(kHeight, axes.title) + plane.Frame(axes) + plane.XTicks();
  for (size_t i = 0; i < drawn.size(); ++i) svg += Draw(drawn[i], i, plane);
  return svg + "</svg>";
}

std::string BarChart(const ChartAxes& axes, const std::vector<std::string>& labels,
                     const std::vector<ChartBars>& bars) {
  if (labels.empty() || bars.empty()) return {};
  double most = 0.0;
  std::vector<std::string> names;
  for (const ChartBars& group : bars) {
    names.push_back(group.name);
    for (const double value : group.values) most = std::max(most, value);
  }
  const auto groups = static_cast<double>(labels.size());
  const Plane plane(0.0, groups, axes.percent ? std::min(most, 1.0) : most);
  std::string svg = Legend(names) + Open(kHeight, axes.title) + plane.Frame(axes);
  const double room = (plane.X(1.0) - plane.X(0.0)) * 0.8;
  const double width = std::min(room / static_cast<double>(bars.size()), 40.0);
  const double used = width * static_cast<double>(bars.size());
  const bool values_fit = width >= 26.0;  // a number above its bar
  for (size_t i = 0; i < labels.size(); ++i) {
    const double centre = plane.X(static_cast<double>(i) + 0.5);
    svg += Text(centre, kHeight - kBottom + 16.0, "middle", labels[i]);
    for (size_t j = 0; j < bars.size(); ++j) {
      const double x = centre - used / 2.0 + width * static_cast<double>(j);
      const double value = bars[j].values[i], y = plane.Y(value);
      svg += Rect(x, y, width - 1.5, plane.Y(0.0) - y, Colour(j));
      if (values_fit)
        svg += Text(x + width / 2.0, y - 4.0, "middle",
                    axes.percent ? Fixed(100.0 * value, value < 0.0995 ? 1 : 0) : Fixed(value, 2));
    }
  }
  return svg + "</svg>";
}

std::string RowChart(const std::string& title, const std::vector<RowBar>& bars) {
  constexpr double kRow = 42.0, kBar = 14.0;
  double most = 0.0;
  for (const RowBar& bar : bars) most = std::max({most, bar.value, bar.mark});
  if (bars.empty() || most <= 0.0) return {};
  std::string svg = Open(kRow * static_cast<double>(bars.size()) + 4.0, title);
  for (size_t i = 0; i < bars.size(); ++i) {
    const RowBar& bar = bars[i];
    const double top = kRow * static_cast<double>(i), scale = (kWidth - 4.0) / most;
    svg += Text(0.0, top + 15.0, "start", bar.label);
    svg += Text(kWidth, top + 15.0, "end", bar.note);
    svg += Rect(0.0, top + 21.0, kWidth, kBar, "track");
    svg += Rect(0.0, top + 21.0, bar.value * scale, kBar, "c0");
    if (bar.mark > 0.0) {
      const double x = bar.mark * scale;
      svg += Line(x, top + 18.0, x, top + 24.0 + kBar, "mark");
    }
  }
  return svg + "</svg>";
}

std::string_view ChartStyle() {
  return R"(svg{width:100%;height:auto;display:block}
svg text{font-size:13px;fill:var(--soft)}
svg .grid{stroke:var(--line);stroke-width:1}
svg .track{fill:var(--line);opacity:.5}
svg .mark{stroke:var(--ink);stroke-width:2.5}
svg polyline{fill:none;stroke-width:2.2;stroke-linejoin:round}
svg polyline.faint{stroke-dasharray:5 5}
svg .c0{fill:var(--c0)} svg .c1{fill:var(--c1)} svg .c2{fill:var(--c2)} svg .c3{fill:var(--c3)}
svg polyline.c0{stroke:var(--c0);fill:none} svg polyline.c1{stroke:var(--c1);fill:none}
svg polyline.c2{stroke:var(--c2);fill:none} svg polyline.c3{stroke:var(--c3);fill:none}
.legend{margin:0 0 .4rem;font-size:.85rem;color:var(--soft)}
.legend span{margin-right:.9rem;white-space:nowrap}
.legend i{display:inline-block;width:.75em;height:.75em;border-radius:2px;margin-right:.35em}
i.c0{background:var(--c0)} i.c1{background:var(--c1)} i.c2{background:var(--c2)} i.c3{background:var(--c3)}
)";
}

}  // namespace tern
