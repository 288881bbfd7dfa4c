// Small charts as inline SVG: no scripts, colours by the classes and variables of the page's style.
#ifndef TERN_TOOLS_SVG_CHART_H_
#define TERN_TOOLS_SVG_CHART_H_

#include <string>
#include <string_view>
#include <vector>

namespace tern {

// Text for HTML: markup characters as entities; what is not UTF-8 and control characters that XML
// does not know become U+FFFD.
std::string EscapeHtml(std::string_view text);
// A number with so many digits behind the point; "-" where it is not finite.
std::string Fixed(double value, int digits);

struct ChartPoint {
  double x, y;
};
struct ChartLine {
  std::string name;
  std::vector<ChartPoint> points;
  bool dots = false;   // dots instead of a line
  bool faint = false;  // a reference, dashed
};
struct ChartBars {
  std::string name;
  std::vector<double> values;  // [labels]
};
struct ChartAxes {
  std::string title;     // read out, not drawn
  std::string x, y;      // what the axes count
  bool percent = false;  // y is a share, drawn from 0 to at most 1
  double x_most = 0.0;   // where the x axis ends at least; 0: at the last point
};

// Points that are not finite are left out. All return "" where there is nothing to draw.
std::string LineChart(const ChartAxes& axes, const std::vector<ChartLine>& lines);
// Groups of upright bars, one group a label.
std::string BarChart(const ChartAxes& axes, const std::vector<std::string>& labels,
                     const std::vector<ChartBars>& bars);

struct RowBar {
  std::string label, note;  // left above the bar, right above it
  double value = 0.0;
  double mark = 0.0;  // a stroke across the bar; 0: none
};
// Lying bars from 0, each below its label.
std::string RowChart(const std::string& title, const std::vector<RowBar>& bars);

// The style that the charts need.
std::string_view ChartStyle();

}  // namespace tern

#endif  // TERN_TOOLS_SVG_CHART_H_
