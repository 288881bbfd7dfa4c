// MatView: a row-major matrix somebody else owns. Copy it freely; it never allocates or frees.
#ifndef TERN_KERNELS_MAT_VIEW_H_
#define TERN_KERNELS_MAT_VIEW_H_

#include <cstddef>
#include <span>
#include <type_traits>

#include "kernels/check.h"

namespace tern {

template <class T>
struct MatView {
  T* data = nullptr;
  size_t rows = 0;
  size_t cols = 0;
  size_t stride = 0;  // elements from one row to the next, >= cols

  MatView() = default;
  MatView(T* data_in, size_t rows_in, size_t cols_in)
      : MatView(data_in, rows_in, cols_in, cols_in) {}
  MatView(T* data_in, size_t rows_in, size_t cols_in, size_t stride_in)
      : data(data_in), rows(rows_in), cols(cols_in), stride(stride_in) {}
  // A view of T converts to a view of const T.
  template <class U>
  requires(std::is_same_v<const U, T>)
      MatView(const MatView<U>& other)  // NOLINT(google-explicit-constructor)
      : MatView(other.data, other.rows, other.cols, other.stride) {}

  T* Row(size_t r) const {
    TERN_DCHECK(r < rows) << "row " << r << " of " << rows;
    return data + r * stride;
  }
  std::span<T> RowSpan(size_t r) const { return {Row(r), cols}; }
  MatView Rows(size_t begin, size_t count) const {
    TERN_DCHECK(begin + count <= rows) << "rows " << begin << "+" << count << " of " << rows;
    return {data + begin * stride, count, cols, stride};
  }
  MatView Cols(size_t begin, size_t count) const {
    TERN_DCHECK(begin + count <= cols) << "cols " << begin << "+" << count << " of " << cols;
    return {data + begin, rows, count, stride};
  }
};

}  // namespace tern

#endif  // TERN_KERNELS_MAT_VIEW_H_
