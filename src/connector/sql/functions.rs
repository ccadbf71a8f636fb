//! The functions that a tool may call: those that look at their arguments and at nothing else.
//!
//! Left out on purpose: what reads files or settings, runs text as SQL, sleeps, locks, changes a
//! sequence or a session, or makes a value of any size out of a small one (SQLite's `printf`).

/// PostgreSQL's.
pub const POSTGRES: &[&str] = &[
    // Aggregates.
    "any_value array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count covar_pop \
     covar_samp every json_agg json_object_agg jsonb_agg jsonb_object_agg max min mode \
     percentile_cont percentile_disc range_agg regr_avgx regr_avgy regr_count regr_intercept \
     regr_r2 regr_slope regr_sxx regr_sxy regr_syy stddev stddev_pop stddev_samp string_agg sum \
     var_pop var_samp variance grouping",
    // Window functions.
    "cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank \
     row_number",
    // Choices.
    "coalesce nullif greatest least num_nonnulls num_nulls",
    // Texts.
    "ascii bit_length btrim char_length character_length chr concat concat_ws decode encode \
     initcap left length lower lpad ltrim md5 normalize octet_length overlay position quote_ident \
     quote_literal quote_nullable regexp_count regexp_instr regexp_like regexp_match \
     regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr \
     repeat replace reverse right rpad rtrim sha224 sha256 sha384 sha512 split_part starts_with \
     string_to_array string_to_table strpos substr substring to_ascii to_hex translate trim upper \
     get_bit get_byte bit_count unistr",
    // Numbers.
    "abs acos asin atan atan2 cbrt ceil ceiling cos cot degrees div exp factorial floor gcd lcm ln \
     log log10 min_scale mod pi power radians random round scale sign sin sinh cosh tanh sqrt tan \
     trim_scale trunc width_bucket to_number",
    // Times.
    "age clock_timestamp date_bin date_part date_trunc extract isfinite justify_days justify_hours \
     justify_interval make_date make_interval make_time make_timestamp make_timestamptz now \
     statement_timestamp to_char to_date to_timestamp transaction_timestamp timezone date \
     current_date current_time current_timestamp localtime localtimestamp",
    // JSON.
    "array_to_json json_array_elements json_array_elements_text json_array_length json_build_array \
     json_build_object json_each json_each_text json_extract_path json_extract_path_text \
     json_object json_object_keys json_strip_nulls json_to_record json_to_recordset json_typeof \
     jsonb_array_elements jsonb_array_elements_text jsonb_array_length jsonb_build_array \
     jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text \
     jsonb_insert jsonb_object jsonb_object_keys jsonb_path_exists jsonb_path_match \
     jsonb_path_query jsonb_path_query_array jsonb_path_query_first jsonb_pretty jsonb_set \
     jsonb_set_lax jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_typeof row_to_json \
     to_json to_jsonb",
    // Arrays and ranges.
    "array_append array_cat array_dims array_length array_lower array_ndims array_position \
     array_positions array_prepend array_remove array_replace array_to_string array_upper \
     cardinality trim_array unnest isempty lower_inc lower_inf upper_inc upper_inf range_merge \
     int4range int8range numrange daterange tsrange tstzrange",
    // Search.
    "phraseto_tsquery plainto_tsquery setweight strip to_tsquery to_tsvector ts_headline ts_rank \
     ts_rank_cd tsvector_to_array websearch_to_tsquery numnode querytree similarity \
     word_similarity",
    // Networks, ids, series, types.
    "array cast abbrev broadcast family host hostmask inet_merge inet_same_family masklen netmask network \
     gen_random_uuid generate_series generate_subscripts pg_typeof",
];

/// SQLite's, as it is bundled.
pub const SQLITE: &[&str] = &[
    // Aggregates and window functions.
    "avg count group_concat string_agg max min sum total json_group_array json_group_object \
     jsonb_group_array jsonb_group_object cume_dist dense_rank first_value lag last_value lead \
     nth_value ntile percent_rank rank row_number",
    // Choices.
    "coalesce ifnull iif if nullif likely unlikely likelihood",
    // Texts.
    "char concat concat_ws glob hex instr length like lower ltrim octet_length quote replace rtrim \
     soundex substr substring trim unhex unicode upper typeof",
    // Numbers.
    "abs acos acosh asin asinh atan atan2 atanh ceil ceiling cos cosh degrees exp floor ln log \
     log10 log2 mod pi pow power radians random round sign sin sinh sqrt tan tanh trunc",
    // Times.
    "date datetime julianday strftime time timediff unixepoch current_date current_time \
     current_timestamp",
    // JSON.
    "json json_array json_array_length json_each json_error_position json_extract json_insert \
     json_object json_patch json_pretty json_quote json_remove json_replace json_set json_tree \
     json_type json_valid jsonb jsonb_array jsonb_each jsonb_extract jsonb_insert jsonb_object \
     jsonb_patch jsonb_remove jsonb_replace jsonb_set jsonb_tree",
    // Search.
    "bm25 highlight snippet match",
    // Casts are written as a function.
    "cast",
];

/// Those that make one value of many rows; rows that they were made of cannot be locked.
pub const AGGREGATES: &str = "any_value array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count \
     covar_pop covar_samp every json_agg json_object_agg jsonb_agg jsonb_object_agg max min mode \
     percentile_cont percentile_disc range_agg regr_avgx regr_avgy regr_count regr_intercept \
     regr_r2 regr_slope regr_sxx regr_sxy regr_syy stddev stddev_pop stddev_samp string_agg sum \
     var_pop var_samp variance unnest generate_series generate_subscripts json_array_elements \
     json_array_elements_text jsonb_array_elements jsonb_array_elements_text jsonb_each \
     jsonb_each_text json_each json_each_text regexp_matches regexp_split_to_table \
     string_to_table jsonb_path_query json_object_keys jsonb_object_keys json_to_recordset \
     jsonb_to_recordset";
