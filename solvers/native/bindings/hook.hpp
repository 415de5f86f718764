// What every solve of the bindings does now and then.
#pragma once

#include <nanobind/nanobind.h>

#include <functional>
#include <optional>
#include <utility>

namespace lowtide::bindings {

namespace nb = nanobind;

// Called about every 50 ms without the GIL: handles signals, then calls Python.  Ctrl-C, or True
// from Python, ends the solve with what was found; any other exception ends it and is passed on.
class Hook {
 public:
  explicit Hook(std::function<nb::object()> call) : call_(std::move(call)) {}

  bool operator()() {
    const nb::gil_scoped_acquire gil;
    try {
      if (PyErr_CheckSignals() != 0) throw nb::python_error();
      return interrupted_ = nb::cast<bool>(nb::bool_(call_()));
    } catch (nb::python_error& raised) {
      interrupted_ = raised.matches(PyExc_KeyboardInterrupt);
      if (!interrupted_) error_.emplace(std::move(raised));
      return true;
    }
  }
  bool interrupted() const { return interrupted_; }
  void rethrow() {
    if (error_) throw nb::python_error(std::move(*error_));
  }

 private:
  std::function<nb::object()> call_;
  bool interrupted_ = false;
  std::optional<nb::python_error> error_;
};

}  // namespace lowtide::bindings
