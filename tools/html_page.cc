#include "tools/html_page.h"

#include "tools/svg_chart.h"

namespace tern {
namespace {

constexpr std::string_view kStyle =
    R"(:root{color-scheme:light dark;--page:#fff;--card:#f6f7f9;--ink:#1b2230;--soft:#566072;--line:#dde1e8;
--c0:#1f6fb2;--c1:#d9822b;--c2:#3c9d5a;--c3:#9a5fb5;--good:#1d7f46;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--page:#12161d;--card:#1a202a;--ink:#e7ebf2;--soft:#a3adbd;--line:#323b49;
--c0:#5ba8e6;--c1:#f0a458;--c2:#62c483;--c3:#c08fd8;--good:#62c483;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;padding:1.2rem;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:68rem;margin:0 auto}
h1{font-size:1.5rem;margin:0} h2{font-size:1.05rem;margin:0 0 .5rem}
.soft,figcaption{color:var(--soft);font-size:.88rem;overflow-wrap:anywhere}
figcaption{margin-top:.5rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.7rem;margin:1rem 0}
.tiles div,figure,section{background:var(--card);border-radius:10px;padding:.8rem 1rem;margin:0}
.tiles b{display:block;font-size:1.35rem;font-variant-numeric:tabular-nums}
.tiles span{color:var(--soft);font-size:.85rem}
.good{color:var(--good)} .bad{color:var(--bad)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1rem;margin-bottom:1rem;align-items:start}
.stack{display:flex;height:1.5rem;border-radius:5px;overflow:hidden}
.stack i{display:block;height:100%}
table{border-collapse:collapse;width:100%;font-size:.88rem;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:.2rem .3rem;border-bottom:1px solid var(--line)}
th{color:var(--soft);font-weight:normal} th:first-child,td:first-child{text-align:left}
.scroll{overflow-x:auto}
section{margin-bottom:1rem}
)";

}  // namespace

std::string PageBegin(const std::string& title, std::string_view style) {
  std::string html =
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>"
      "<title>" +
      EscapeHtml(title) + "</title><style>";
  html.append(kStyle).append(style).append(ChartStyle());
  return html + "</style></head><body><main>\n";
}

std::string PageEnd() { return "</main></body></html>\n"; }

std::string Tile(const std::string& value, const std::string& name, std::string_view style) {
  return "<div><b class=\"" + std::string(style) + "\">" + EscapeHtml(value) + "</b><span>" +
         EscapeHtml(name) + "</span></div>\n";
}

std::string Figure(const std::string& heading, const std::string& chart, const std::string& caption,
                   const std::string& empty) {
  return "<figure><h2>" + EscapeHtml(heading) + "</h2>" +
         (chart.empty() ? "<p class=\"soft\">" + EscapeHtml(empty) + "</p>"
                        : chart + "<figcaption>" + EscapeHtml(caption) + "</figcaption>") +
         "</figure>\n";
}

}  // namespace tern
