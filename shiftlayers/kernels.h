/* Integer kernels of an exported shift network: no float, and no product of a weight and a value. */

/* Through unsigned, because shifting a negative number to the left is not defined. */
static inline VALUE shift_left(VALUE value, int n) { return (VALUE)((UNSIGNED)value << n); }

/* value / 2^n for n > 0, rounded to the nearest, ties to even. */
static inline VALUE shift_right(VALUE value, int n) {
  UNSIGNED rest = (UNSIGNED)value & (((UNSIGNED)1 << n) - 1), half = (UNSIGNED)1 << (n - 1);
  VALUE floor = value >= 0 ? value >> n : ~(~value >> n);
  return floor + (rest > half || (rest == half && (floor & 1)));
}

/* Values on a grid 2^shift times finer, cut to low..high. */
static inline void to_fixed_point(const VALUE *x, VALUE *y, int size, int shift, VALUE low, VALUE high) {
  for (int i = 0; i < size; i++) {
    VALUE value = shift >= 0 ? shift_left(x[i], shift) : shift_right(x[i], -shift);
    y[i] = value < low ? low : value > high ? high : value;
  }
}

typedef struct {
  int channels, height, width;             /* of the input */
  int out_channels, out_height, out_width; /* of the output */
  int kernel_height, kernel_width, stride_height, stride_width;
  int padding_height, padding_width, dilation_height, dilation_width;
  int groups, terms;
} GEOMETRY;

/* Sums of shifted values. A code of 0 is no term, +-(n + 1) a value times +-2^n; a weight is a sum of g->terms terms. */
static inline void convolution(const VALUE *x, VALUE *y, const int8_t *codes, const VALUE *bias, const GEOMETRY *g) {
  int in_group = g->channels / g->groups, out_group = g->out_channels / g->groups;
  for (int o = 0; o < g->out_channels; o++)
    for (int row = 0; row < g->out_height; row++)
      for (int column = 0; column < g->out_width; column++) {
        const int8_t *code = codes + (long)o * in_group * g->kernel_height * g->kernel_width * g->terms;
        VALUE sum = bias ? bias[o] : 0;
        for (int c = 0; c < in_group; c++)
          for (int i = 0; i < g->kernel_height; i++)
            for (int j = 0; j < g->kernel_width; j++, code += g->terms) {
              int h = row * g->stride_height - g->padding_height + i * g->dilation_height;
              int w = column * g->stride_width - g->padding_width + j * g->dilation_width;
              if (h < 0 || h >= g->height || w < 0 || w >= g->width) continue;
              VALUE value = x[((long)(o / out_group * in_group + c) * g->height + h) * g->width + w];
              for (int t = 0; t < g->terms; t++) {
                if (code[t] > 0) sum += shift_left(value, code[t] - 1);
                if (code[t] < 0) sum -= shift_left(value, -code[t] - 1);
              }
            }
        y[((long)o * g->out_height + row) * g->out_width + column] = sum;
      }
}

/* The largest value (is_sum 0) or the sum of values (is_sum 1) of each window. */
static inline void pooling(const VALUE *x, VALUE *y, const GEOMETRY *g, int is_sum) {
  for (int c = 0; c < g->channels; c++)
    for (int row = 0; row < g->out_height; row++)
      for (int column = 0; column < g->out_width; column++) {
        VALUE result = 0;
        int is_first = 1;
        for (int i = 0; i < g->kernel_height; i++)
          for (int j = 0; j < g->kernel_width; j++) {
            int h = row * g->stride_height - g->padding_height + i * g->dilation_height;
            int w = column * g->stride_width - g->padding_width + j * g->dilation_width;
            if (h < 0 || h >= g->height || w < 0 || w >= g->width) continue;
            VALUE value = x[((long)c * g->height + h) * g->width + w];
            result = is_sum ? result + value : is_first || value > result ? value : result;
            is_first = 0;
          }
        y[((long)c * g->out_height + row) * g->out_width + column] = result;
      }
}

static inline void relu(const VALUE *x, VALUE *y, int size) {
  for (int i = 0; i < size; i++) y[i] = x[i] > 0 ? x[i] : 0;
}

static inline void addition(const VALUE *a, const VALUE *b, VALUE *y, int size, int shift_a, int shift_b) {
  for (int i = 0; i < size; i++) y[i] = shift_left(a[i], shift_a) + shift_left(b[i], shift_b);
}
