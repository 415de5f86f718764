"""The TFLite schema (version 3), as compact text: what the verifier and the reader are driven by.

One declaration a line: `table NAME field:type=default ...`, fields in the order of their slots; a
union field's type is the slot before it. `empty` lists tables without fields. Deprecated slots keep
their place. The tests compare all of it with ai_edge_litert's generated code.
"""

from __future__ import annotations

from functools import cache

from lowtide.flatbuffer import Schema

__all__ = ["IDENTIFIER", "tflite_schema"]

IDENTIFIER = b"TFL3"

_TEXT = """
union QuantizationDetails CustomQuantization=1 BlockwiseQuantization=2 MultiAxisQuantization=3
union SparseIndexVector Int32Vector=1 Uint16Vector=2 Uint8Vector=3
union BuiltinOptions Conv2DOptions=1 DepthwiseConv2DOptions=2 ConcatEmbeddingsOptions=3
    LSHProjectionOptions=4 Pool2DOptions=5 SVDFOptions=6 RNNOptions=7 FullyConnectedOptions=8
    SoftmaxOptions=9 ConcatenationOptions=10 AddOptions=11 L2NormOptions=12
    LocalResponseNormalizationOptions=13 LSTMOptions=14 ResizeBilinearOptions=15 CallOptions=16
    ReshapeOptions=17 SkipGramOptions=18 SpaceToDepthOptions=19 EmbeddingLookupSparseOptions=20
    MulOptions=21 PadOptions=22 GatherOptions=23 BatchToSpaceNDOptions=24
    SpaceToBatchNDOptions=25 TransposeOptions=26 ReducerOptions=27 SubOptions=28 DivOptions=29
    SqueezeOptions=30 SequenceRNNOptions=31 StridedSliceOptions=32 ExpOptions=33
    TopKV2Options=34 SplitOptions=35 LogSoftmaxOptions=36 CastOptions=37 DequantizeOptions=38
    MaximumMinimumOptions=39 ArgMaxOptions=40 LessOptions=41 NegOptions=42 PadV2Options=43
    GreaterOptions=44 GreaterEqualOptions=45 LessEqualOptions=46 SelectOptions=47
    SliceOptions=48 TransposeConvOptions=49 SparseToDenseOptions=50 TileOptions=51
    ExpandDimsOptions=52 EqualOptions=53 NotEqualOptions=54 ShapeOptions=55 PowOptions=56
    ArgMinOptions=57 FakeQuantOptions=58 PackOptions=59 LogicalOrOptions=60 OneHotOptions=61
    LogicalAndOptions=62 LogicalNotOptions=63 UnpackOptions=64 FloorDivOptions=65
    SquareOptions=66 ZerosLikeOptions=67 FillOptions=68 BidirectionalSequenceLSTMOptions=69
    BidirectionalSequenceRNNOptions=70 UnidirectionalSequenceLSTMOptions=71 FloorModOptions=72
    RangeOptions=73 ResizeNearestNeighborOptions=74 LeakyReluOptions=75
    SquaredDifferenceOptions=76 MirrorPadOptions=77 AbsOptions=78 SplitVOptions=79
    UniqueOptions=80 ReverseV2Options=81 AddNOptions=82 GatherNdOptions=83 CosOptions=84
    WhereOptions=85 RankOptions=86 ReverseSequenceOptions=87 MatrixDiagOptions=88
    QuantizeOptions=89 MatrixSetDiagOptions=90 HardSwishOptions=91 IfOptions=92 WhileOptions=93
    DepthToSpaceOptions=94 NonMaxSuppressionV4Options=95 NonMaxSuppressionV5Options=96
    ScatterNdOptions=97 SelectV2Options=98 DensifyOptions=99 SegmentSumOptions=100
    BatchMatMulOptions=101 CumsumOptions=102 CallOnceOptions=103 BroadcastToOptions=104
    Rfft2dOptions=105 Conv3DOptions=106 HashtableOptions=107 HashtableFindOptions=108
    HashtableImportOptions=109 HashtableSizeOptions=110 VarHandleOptions=111
    ReadVariableOptions=112 AssignVariableOptions=113 RandomOptions=114 BucketizeOptions=115
    GeluOptions=116 DynamicUpdateSliceOptions=117 UnsortedSegmentProdOptions=118
    UnsortedSegmentMaxOptions=119 UnsortedSegmentMinOptions=120 UnsortedSegmentSumOptions=121
    ATan2Options=122 SignOptions=123 BitcastOptions=124 BitwiseXorOptions=125
    RightShiftOptions=126
union BuiltinOptions2 StablehloConcatenateOptions=1 StablehloBroadcastInDimOptions=2
    StablehloSliceOptions=3 StablehloConvolutionOptions=4 StablehloCustomCallOptions=5
    StablehloReduceOptions=6 StablehloScatterOptions=7 StablehloCompareOptions=8
    StablehloDynamicSliceOptions=9 StablehloPadOptions=10 StablehloIotaOptions=11
    StablehloDotGeneralOptions=12 StablehloReduceWindowOptions=13 StablehloSortOptions=14
    StablehloWhileOptions=15 StablehloGatherOptions=16 StablehloTransposeOptions=17
    DilateOptions=18 StablehloRngBitGeneratorOptions=19 ReduceWindowOptions=20
    StableHLOCompositeOptions=21 StablehloShiftLeftOptions=22 StablehloCaseOptions=23
table Model version:u32 operator_codes:[OperatorCode] subgraphs:[SubGraph] description:str
    buffers:[Buffer] metadata_buffer:[i32] metadata:[Metadata] signature_defs:[SignatureDef]
    external_buffer_groups:[ExternalBufferGroup] external_buffers:[ExternalBuffer]
table CustomQuantization custom:[u8]
table BlockwiseQuantization scales:i32 zero_points:i32 block_size:i32 block_shape:[i32]
table MultiAxisQuantization scales:i32 zero_points:i32 block_size:i32 quantized_dimensions:[i32]
table QuantizationParameters min:[f32] max:[f32] scale:[f32] zero_point:[i64] details_type:u8
    details:union:QuantizationDetails quantized_dimension:i32
table Int32Vector values:[i32]
table Uint16Vector values:[u16]
table Uint8Vector values:[u8]
table DimensionMetadata format:i8 dense_size:i32 array_segments_type:u8
    array_segments:union:SparseIndexVector array_indices_type:u8
    array_indices:union:SparseIndexVector
table SparsityParameters traversal_order:[i32] block_map:[i32] dim_metadata:[DimensionMetadata]
table VariantSubType shape:[i32] type:i8 has_rank:bool
table Tensor shape:[i32] type:i8 buffer:u32 name:str quantization:QuantizationParameters
    is_variable:bool sparsity:SparsityParameters shape_signature:[i32] has_rank:bool
    variant_tensors:[VariantSubType] external_buffer:u32
table StablehloGatherOptions offset_dims:[i64] collapsed_slice_dims:[i64] start_index_map:[i64]
    index_vector_dim:i64 slice_sizes:[i64] indices_are_sorted:bool
table StablehloTransposeOptions permutation:[i64]
table StablehloDotGeneralOptions lhs_batching_dimensions:[i64] rhs_batching_dimensions:[i64]
    lhs_contracting_dimensions:[i64] rhs_contracting_dimensions:[i64] precision_config:[u32]
table StablehloReduceWindowOptions window_dimensions:[i64] window_strides:[i64]
    base_dilations:[i64] window_dilations:[i64] padding:[i64] body_subgraph_index:i32
table StablehloWhileOptions cond_subgraph_index:i32 body_subgraph_index:i32
table StablehloSortOptions dimension:i64 is_stable:bool comparator_subgraph_index:i32
table StablehloConcatenateOptions dimension:i64
table StablehloBroadcastInDimOptions broadcast_dimensions:[i64]
table StablehloCompareOptions comparison_direction:u32 compare_type:u32
table StablehloDynamicSliceOptions slice_sizes:[i64]
table StablehloPadOptions edge_padding_low:[i64] edge_padding_high:[i64] interior_padding:[i64]
table StablehloIotaOptions iota_dimension:i64
table StablehloCustomCallOptions call_target_name:str has_side_effect:bool backend_config:str
    api_version:i32 called_computations:[i32] custom_attributes:[u8]
table StablehloReduceOptions dimensions:[i64] body_subgraph_index:i32
table StablehloSliceOptions start_indices:[i64] limit_indices:[i64] strides:[i64]
table StablehloConvolutionOptions window_strides:[i64] padding:[i64] lhs_dilation:[i64]
    rhs_dilation:[i64] window_reversal:[bool] input_batch_dimension:i64
    input_feature_dimension:i64 input_spatial_dimensions:[i64]
    kernel_input_feature_dimension:i64 kernel_output_feature_dimension:i64
    kernel_spatial_dimensions:[i64] output_batch_dimension:i64 output_feature_dimension:i64
    output_spatial_dimensions:[i64] feature_group_count:i64 batch_group_count:i64
    precision_config:[u32]
table StablehloScatterOptions indices_are_sorted:bool update_window_dims:[i64]
    inserted_window_dims:[i64] scatter_dims_to_operand_dims:[i64] index_vector_dim:i64
    unique_indices:bool update_computation_subgraph_index:i32
table StablehloCaseOptions branch_subgraph_indices:[i32]
table StablehloRngBitGeneratorOptions algorithm:i8
table Conv2DOptions padding:i8 stride_w:i32 stride_h:i32 fused_activation_function:i8
    dilation_w_factor:i32=1 dilation_h_factor:i32=1 quantized_bias_type:i8
table Conv3DOptions padding:i8 stride_d:i32 stride_w:i32 stride_h:i32
    fused_activation_function:i8 dilation_d_factor:i32=1 dilation_w_factor:i32=1
    dilation_h_factor:i32=1
table Pool2DOptions padding:i8 stride_w:i32 stride_h:i32 filter_width:i32 filter_height:i32
    fused_activation_function:i8
table DepthwiseConv2DOptions padding:i8 stride_w:i32 stride_h:i32 depth_multiplier:i32
    fused_activation_function:i8 dilation_w_factor:i32=1 dilation_h_factor:i32=1
table ConcatEmbeddingsOptions num_channels:i32 num_columns_per_channel:[i32]
    embedding_dim_per_channel:[i32]
table LSHProjectionOptions type:i8
table SVDFOptions rank:i32 fused_activation_function:i8 asymmetric_quantize_inputs:bool
table RNNOptions fused_activation_function:i8 asymmetric_quantize_inputs:bool
table SequenceRNNOptions time_major:bool fused_activation_function:i8
    asymmetric_quantize_inputs:bool
table BidirectionalSequenceRNNOptions time_major:bool fused_activation_function:i8
    merge_outputs:bool asymmetric_quantize_inputs:bool
table FullyConnectedOptions fused_activation_function:i8 weights_format:i8 keep_num_dims:bool
    asymmetric_quantize_inputs:bool quantized_bias_type:i8 quant_spec:[u8]
table SoftmaxOptions beta:f32
table ConcatenationOptions axis:i32 fused_activation_function:i8
table AddOptions fused_activation_function:i8 pot_scale_int16:bool=1
table MulOptions fused_activation_function:i8
table L2NormOptions fused_activation_function:i8
table LocalResponseNormalizationOptions radius:i32 bias:f32 alpha:f32 beta:f32
table LSTMOptions fused_activation_function:i8 cell_clip:f32 proj_clip:f32 kernel_type:i8
    asymmetric_quantize_inputs:bool
table UnidirectionalSequenceLSTMOptions fused_activation_function:i8 cell_clip:f32 proj_clip:f32
    time_major:bool asymmetric_quantize_inputs:bool diagonal_recurrent_tensors:bool
table BidirectionalSequenceLSTMOptions fused_activation_function:i8 cell_clip:f32 proj_clip:f32
    merge_outputs:bool time_major:bool=1 asymmetric_quantize_inputs:bool
table ResizeBilinearOptions deprecated_new_height:i32 deprecated_new_width:i32
    align_corners:bool half_pixel_centers:bool
table ResizeNearestNeighborOptions align_corners:bool half_pixel_centers:bool
table CallOptions subgraph:u32
table ReshapeOptions new_shape:[i32]
table SkipGramOptions ngram_size:i32 max_skip_size:i32 include_all_ngrams:bool
table SpaceToDepthOptions block_size:i32
table DepthToSpaceOptions block_size:i32
table SubOptions fused_activation_function:i8 pot_scale_int16:bool=1
table DivOptions fused_activation_function:i8
table EmbeddingLookupSparseOptions combiner:i8
table GatherOptions axis:i32 batch_dims:i32
table ReducerOptions keep_dims:bool
table SqueezeOptions squeeze_dims:[i32]
table SplitOptions num_splits:i32
table SplitVOptions num_splits:i32
table StridedSliceOptions begin_mask:i32 end_mask:i32 ellipsis_mask:i32 new_axis_mask:i32
    shrink_axis_mask:i32 offset:bool
table CastOptions in_data_type:i8 out_data_type:i8
table ArgMaxOptions output_type:i8
table ArgMinOptions output_type:i8
table TransposeConvOptions padding:i8 stride_w:i32 stride_h:i32 fused_activation_function:i8
    quantized_bias_type:i8
table SparseToDenseOptions validate_indices:bool
table ShapeOptions out_type:i8
table FakeQuantOptions min:f32 max:f32 num_bits:i32 narrow_range:bool
table PackOptions values_count:i32 axis:i32
table OneHotOptions axis:i32
table UnpackOptions num:i32 axis:i32
table LeakyReluOptions alpha:f32
table MirrorPadOptions mode:i8
table UniqueOptions idx_out_type:i8=2
table ReverseSequenceOptions seq_dim:i32 batch_dim:i32
table IfOptions then_subgraph_index:i32 else_subgraph_index:i32
table CallOnceOptions init_subgraph_index:i32
table WhileOptions cond_subgraph_index:i32 body_subgraph_index:i32
table BatchMatMulOptions adj_x:bool adj_y:bool asymmetric_quantize_inputs:bool
table CumsumOptions exclusive:bool reverse:bool
table HashtableOptions table_id:i32 key_dtype:i8 value_dtype:i8
table VarHandleOptions container:str shared_name:str
table RandomOptions seed:i64 seed2:i64
table BucketizeOptions boundaries:[f32]
table GeluOptions approximate:bool
table ReduceWindowOptions reduce_function:i32
table OperatorCode deprecated_builtin_code:i8 custom_code:str version:i32=1 builtin_code:i32
table StableHLOCompositeOptions name:str decomposition_subgraph_index:i32
    composite_attributes:[u8] composite_attributes_format:i8 version:i32
table Operator opcode_index:u32 inputs:[i32] outputs:[i32] builtin_options_type:u8
    builtin_options:union:BuiltinOptions custom_options:[u8] custom_options_format:i8
    mutating_variable_inputs:[bool] intermediates:[i32] large_custom_options_offset:u64
    large_custom_options_size:u64 builtin_options_2_type:u8
    builtin_options_2:union:BuiltinOptions2 debug_metadata_index:i32=-1
table SubGraph tensors:[Tensor] inputs:[i32] outputs:[i32] operators:[Operator] name:str
    debug_metadata_index:i32=-1
table Buffer data:[u8] offset:u64 size:u64
table ExternalBufferGroup name:str
table ExternalBuffer id:u32 group:u32 offset:u64 length:u64 packing:str
table Metadata name:str buffer:u32
table TensorMap name:str tensor_index:u32
table SignatureDef inputs:[TensorMap] outputs:[TensorMap] signature_key:str deprecated_tag:str
    subgraph_index:u32
empty PadOptions PadV2Options SpaceToBatchNDOptions BatchToSpaceNDOptions TopKV2Options
    TransposeOptions ExpOptions CosOptions LogSoftmaxOptions DequantizeOptions
    MaximumMinimumOptions TileOptions GreaterOptions GreaterEqualOptions LessOptions
    LessEqualOptions NegOptions SelectOptions SliceOptions ExpandDimsOptions EqualOptions
    NotEqualOptions RankOptions PowOptions LogicalOrOptions AbsOptions HardSwishOptions
    LogicalAndOptions LogicalNotOptions FloorDivOptions SquareOptions ZerosLikeOptions
    FillOptions FloorModOptions RangeOptions SquaredDifferenceOptions ReverseV2Options
    AddNOptions GatherNdOptions WhereOptions MatrixDiagOptions QuantizeOptions
    MatrixSetDiagOptions NonMaxSuppressionV4Options NonMaxSuppressionV5Options ScatterNdOptions
    SelectV2Options DensifyOptions SegmentSumOptions BroadcastToOptions Rfft2dOptions
    HashtableFindOptions HashtableImportOptions HashtableSizeOptions ReadVariableOptions
    AssignVariableOptions DynamicUpdateSliceOptions UnsortedSegmentProdOptions
    UnsortedSegmentMaxOptions UnsortedSegmentSumOptions ATan2Options UnsortedSegmentMinOptions
    SignOptions BitcastOptions BitwiseXorOptions RightShiftOptions DilateOptions
    StablehloShiftLeftOptions
"""


@cache
def tflite_schema() -> Schema:
    """The parsed schema."""
    return Schema.parse(_TEXT, root="Model", identifier=IDENTIFIER)
