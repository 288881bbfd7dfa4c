// What tern's pages of figures have in common: style, tiles, charts with captions. Style and
// drawings are inline: no scripts, no request to anywhere; every tag is closed, also for an XML
// parser.
#ifndef TERN_TOOLS_HTML_PAGE_H_
#define TERN_TOOLS_HTML_PAGE_H_

#include <string>
#include <string_view>

namespace tern {

// Up to where the content begins; `style` joins the common one. PageEnd closes it.
std::string PageBegin(const std::string& title, std::string_view style = "");
std::string PageEnd();
// One figure. `style`: "", "good" or "bad". They belong in <div class="tiles">.
std::string Tile(const std::string& value, const std::string& name, std::string_view style = "");
// A chart with what it shows; `empty` says why where there is nothing to draw. They belong in
// <div class="charts">.
std::string Figure(const std::string& heading, const std::string& chart, const std::string& caption,
                   const std::string& empty);

}  // namespace tern

#endif  // TERN_TOOLS_HTML_PAGE_H_
